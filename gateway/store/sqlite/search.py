"""Search in transcripts, with SQLite's FTS5: https://www.sqlite.org/fts5.html.

Triggers in the migrations keep the index up to date.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gateway.domain.page import Page
from gateway.domain.search import SearchHit, SearchQuery, SearchTerm, join_characters, separate_characters
from gateway.domain.session import Role
from gateway.domain.unreadable import RowKind
from gateway.store.sqlite.database import Reader, Transaction
from gateway.store.sqlite.unreadable import decode_rows

#: words in a snippet
MAX_SNIPPET_WORDS = 32
#: characters of a message that are indexed; the migrations use the same number
MAX_INDEXED_CHARACTERS = 65536
#: one step of reindexing ends after this many messages, or after this many characters
REINDEX_STEP_MESSAGES, REINDEX_STEP_CHARACTERS = 200, 65536
#: mark the beginning and the end of a match in a snippet; shown text never contains them
_MATCH_BEGIN, _MATCH_END = "\x02", "\x03"
_MARKED_MATCH = re.compile(f"{_MATCH_BEGIN}([^{_MATCH_BEGIN}{_MATCH_END}]*){_MATCH_END}")


def search_messages(reader: Reader, query: SearchQuery, page: Page) -> list[SearchHit]:
    """Return the messages that match, newest first."""
    conditions, values = ["words MATCH ?"], [_match_expression(query.terms)]
    for column, value in (("transcript.session", query.session), ("sessions.agent", query.agent)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    rows = reader.execute(
        "SELECT words.rowid, transcript.session, sessions.agent, role, run, at,"
        f" snippet(words, 0, '{_MATCH_BEGIN}', '{_MATCH_END}', '…', {MAX_SNIPPET_WORDS})"
        " FROM words CROSS JOIN transcript ON transcript.id = words.rowid"
        " CROSS JOIN sessions ON sessions.key = transcript.session"
        f" WHERE {' AND '.join(conditions)} AND words.rowid < ? ORDER BY words.rowid DESC LIMIT ?",
        (*values, page.before if page.before is not None else 1 << 62, page.limit),
    )
    return decode_rows(reader, RowKind.MESSAGE, rows, _decode_hit, lambda row: (row[0],))


def _decode_hit(row: Sequence[Any]) -> SearchHit:
    position, session, agent, role, run, at, marked = row
    return SearchHit(
        position=position,
        session=session,
        agent=agent,
        role=Role(role),
        run=run,
        at=at,
        snippet=_strip_marks(marked),
        matches=tuple(dict.fromkeys(map(join_characters, _MARKED_MATCH.findall(marked)))),
    )


def _match_expression(terms: tuple[SearchTerm, ...]) -> str:
    """Return a search in FTS5's query language. Every word is quoted, so that none is read as an operator."""
    wanted = " AND ".join(_quote_term(term) for term in terms if not term.excluded)
    unwanted = " OR ".join(_quote_term(term) for term in terms if term.excluded)
    return f"({wanted}) NOT ({unwanted})" if unwanted else wanted


def _quote_term(term: SearchTerm) -> str:
    text = separate_characters(term.text).replace('"', '""')
    return f'"{text}"' + ("*" if term.prefix else "")


def _strip_marks(marked: str) -> str:
    return join_characters(marked).replace(_MATCH_BEGIN, "").replace(_MATCH_END, "")


def reindex_message_batch(tx: Transaction) -> bool:
    """Index some old messages by single characters. Returns False when there are none left."""
    found: Any = tx.execute("SELECT next, last FROM respacing").fetchone()
    next_, last = found
    if next_ > last:
        return False
    rows: Any = tx.execute(
        f"SELECT id, substr(content, 1, {MAX_INDEXED_CHARACTERS}) FROM transcript WHERE id BETWEEN ? AND ?"
        f" ORDER BY id LIMIT {REINDEX_STEP_MESSAGES}",
        (next_, last),
    ).fetchall()
    done, size = last, 0
    for id_, content in rows:
        if (apart := separate_characters(content)) != content:
            tx.execute("INSERT INTO words (words, rowid, content) VALUES ('delete', ?, ?)", (id_, content))
            tx.execute("INSERT INTO words (rowid, content) VALUES (?, ?)", (id_, apart))
            size += len(content)
        if size >= REINDEX_STEP_CHARACTERS:
            done = id_
            break
    else:
        done = rows[-1][0] if len(rows) == REINDEX_STEP_MESSAGES else last
    tx.execute("UPDATE respacing SET next = ?", (done + 1,))
    return True
