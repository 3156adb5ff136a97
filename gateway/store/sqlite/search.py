"""Search in transcripts, with SQLite's FTS5: https://www.sqlite.org/fts5.html.

Triggers in the migrations keep the index up to date.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.domain.page import Page
from gateway.domain.search import Found, Search, Term, spaced, together
from gateway.domain.session import Role
from gateway.store.sqlite.database import Reader, Transaction

#: words in a snippet
WORDS = 32
#: characters of a message that are indexed; the migrations use the same number
INDEXED = 65536
#: one step of reindexing ends after this many messages, or after this many characters
ROWS, SIZE = 200, 65536
#: mark the beginning and the end of a match in a snippet; shown text never contains them
_BEGIN, _END = "\x02", "\x03"
_MATCH = re.compile(f"{_BEGIN}([^{_BEGIN}{_END}]*){_END}")


def search_messages(reader: Reader, wanted: Search, page: Page) -> list[Found]:
    """Return the messages that match, newest first."""
    conditions, values = ["words MATCH ?"], [_match_expression(wanted.terms)]
    for column, value in (("transcript.session", wanted.session), ("sessions.agent", wanted.agent)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    rows = reader.execute(
        "SELECT words.rowid, transcript.session, sessions.agent, role, run, at,"
        f" snippet(words, 0, '{_BEGIN}', '{_END}', '…', {WORDS})"
        " FROM words CROSS JOIN transcript ON transcript.id = words.rowid"
        " CROSS JOIN sessions ON sessions.key = transcript.session"
        f" WHERE {' AND '.join(conditions)} AND words.rowid < ? ORDER BY words.rowid DESC LIMIT ?",
        (*values, page.before if page.before is not None else 1 << 62, page.limit),
    )
    return [
        Found(
            position=position,
            session=session,
            agent=agent,
            role=Role(role),
            run=run,
            at=at,
            snippet=_strip_marks(marked),
            matches=tuple(dict.fromkeys(map(together, _MATCH.findall(marked)))),
        )
        for position, session, agent, role, run, at, marked in rows
    ]


def _match_expression(terms: tuple[Term, ...]) -> str:
    """Return a search in FTS5's query language. Every word is quoted, so that none is read as an operator."""
    wanted = " AND ".join(_quote_term(term) for term in terms if not term.excluded)
    unwanted = " OR ".join(_quote_term(term) for term in terms if term.excluded)
    return f"({wanted}) NOT ({unwanted})" if unwanted else wanted


def _quote_term(term: Term) -> str:
    text = spaced(term.text).replace('"', '""')
    return f'"{text}"' + ("*" if term.prefix else "")


def _strip_marks(marked: str) -> str:
    return together(marked).replace(_BEGIN, "").replace(_END, "")


def reindex_some(tx: Transaction) -> bool:
    """Index some old messages by single characters. Returns False when there are none left."""
    found: Any = tx.execute("SELECT next, last FROM respacing").fetchone()
    next_, last = found
    if next_ > last:
        return False
    rows: Any = tx.execute(
        f"SELECT id, substr(content, 1, {INDEXED}) FROM transcript WHERE id BETWEEN ? AND ? ORDER BY id LIMIT {ROWS}",
        (next_, last),
    ).fetchall()
    done, size = last, 0
    for id_, content in rows:
        if (apart := spaced(content)) != content:
            tx.execute("INSERT INTO words (words, rowid, content) VALUES ('delete', ?, ?)", (id_, content))
            tx.execute("INSERT INTO words (rowid, content) VALUES (?, ?)", (id_, apart))
            size += len(content)
        if size >= SIZE:
            done = id_
            break
    else:
        done = rows[-1][0] if len(rows) == ROWS else last
    tx.execute("UPDATE respacing SET next = ?", (done + 1,))
    return True
