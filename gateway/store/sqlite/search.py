"""Search in transcripts, with SQLite's FTS5: https://www.sqlite.org/fts5.html.

Triggers in the migrations keep the index up to date.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from gateway.domain.page import Page
from gateway.domain.search import SearchHit, SearchQuery, SearchTerm, separate_characters
from gateway.domain.session import Role
from gateway.domain.unreadable import RowKind
from gateway.store.sql.excerpts import MATCH_BEGIN, MATCH_END, MAX_INDEXED_CHARACTERS, cut_excerpt
from gateway.store.sql.pieces import Piece
from gateway.store.sql.reach import make_condition
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows


def search_messages(reader: Reader, query: SearchQuery, page: Page) -> list[SearchHit]:
    """Return the messages that match, newest first."""
    conditions, values = ["words MATCH ?"], [match_expression(query.terms)]
    for column, value in (("transcript.session", query.session), ("sessions.agent", query.agent)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    reached = make_condition(query.reach, "sessions.agent", "transcript.session")
    conditions.append(reached.text)
    values += reached.values
    rows = reader.execute(
        "SELECT words.rowid, transcript.session, sessions.agent, role, run, at,"
        f" highlight(words, 0, '{MATCH_BEGIN}', '{MATCH_END}')"
        " FROM words CROSS JOIN transcript ON transcript.id = words.rowid"
        " CROSS JOIN sessions ON sessions.key = transcript.session"
        f" WHERE {' AND '.join(conditions)} AND words.rowid < ? ORDER BY words.rowid DESC LIMIT ?",
        (*values, page.before if page.before is not None else 1 << 62, page.limit),
    )

    def decode_in_time(row: Sequence[Any]) -> SearchHit:
        if reader.limit is not None:  # SQLite works long on each row, in few steps
            reader.limit.check()
        return _decode_hit(row)

    return decode_rows(reader, RowKind.MESSAGE, rows, decode_in_time, lambda row: (row[0],))


def _decode_hit(row: Sequence[Any]) -> SearchHit:
    position, session, agent, role, run, at, marked = row
    excerpt = cut_excerpt(marked)
    return SearchHit(
        position=position,
        session=session,
        agent=agent,
        role=Role(role),
        run=run,
        at=at,
        snippet=excerpt.text,
        matches=excerpt.matches,
    )


def find_runs_of_messages(reader: Reader, terms: tuple[SearchTerm, ...], limit: int) -> list[int]:
    """Return the numbers of the runs of the newest messages that match, of at most so many messages."""
    rows = reader.execute(
        "SELECT runs.seq FROM (SELECT rowid AS message FROM words WHERE words MATCH ? ORDER BY rowid DESC LIMIT ?)"
        " CROSS JOIN transcript ON transcript.id = message CROSS JOIN runs ON runs.id = transcript.run",
        (match_expression(terms), limit),
    )
    return [seq for (seq,) in rows]


def match_expression(terms: tuple[SearchTerm, ...]) -> str:
    """Return a search in FTS5's query language. Every word is quoted, so that none is read as an operator."""
    wanted = " AND ".join(_quote_term(term) for term in terms if not term.excluded)
    unwanted = " OR ".join(_quote_term(term) for term in terms if term.excluded)
    return f"({wanted}) NOT ({unwanted})" if unwanted else wanted


def _quote_term(term: SearchTerm) -> str:
    text = separate_characters(term.text).replace('"', '""')
    return f'"{text}"' + ("*" if term.prefix else "")


def reindex_message_batch(tx: Transaction) -> bool:
    """Index as many old messages by single characters as fit one piece. Returns False when there are none left."""
    found: Any = tx.execute("SELECT next, last FROM respacing").fetchone()
    next_, last = found
    if next_ > last:
        return False
    rows: Any = tx.execute(
        f"SELECT id, CAST(substr(content, 1, {MAX_INDEXED_CHARACTERS}) AS BLOB) FROM transcript"
        " WHERE id BETWEEN ? AND ? ORDER BY id",
        (next_, last),
    )
    done, piece = last, Piece(tx)
    for id_, data in rows:
        with contextlib.suppress(UnicodeDecodeError):  # it stays indexed as it is
            _reindex_message(tx, id_, data.decode())
        if not piece.may_go_on():
            done = id_
            break
    tx.execute("UPDATE respacing SET next = ?", (done + 1,))
    return True


def _reindex_message(tx: Transaction, id_: int, content: str) -> None:
    if (apart := separate_characters(content)) != content:
        tx.execute("INSERT INTO words (words, rowid, content) VALUES ('delete', ?, ?)", (id_, content))
        tx.execute("INSERT INTO words (rowid, content) VALUES (?, ?)", (id_, apart))
