"""Search in transcripts, with PostgreSQL's text search: https://www.postgresql.org/docs/current/textsearch.html.

What a word is says `gateway.domain.search`, as for the SQLite store; PostgreSQL's own parsers and dictionaries are not
used, so that a search finds the same on both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.domain.page import Page
from gateway.domain.search import (
    SearchHit,
    SearchQuery,
    SearchTerm,
    list_words,
    separate_characters,
)
from gateway.domain.session import Message, Role
from gateway.domain.unreadable import RowKind
from gateway.store.sql.excerpts import MATCH_BEGIN, MATCH_END, MAX_INDEXED_CHARACTERS, cut_excerpt
from gateway.store.sql.reach import make_condition
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows

#: limits of a `tsvector`: https://www.postgresql.org/docs/current/textsearch-limitations.html
MAX_ACCENTED_WORD_BYTES, MAX_POSITION, MAX_POSITIONS_PER_ACCENTED_WORD = 2046, 16383, 255
#: a word with its accents, in a text whose characters are separated
_ACCENTED_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f])*")


def index_messages(tx: Transaction, session: str, first: int, said: Sequence[Message]) -> None:
    """Index messages that were just written, from number `first` on."""
    tx.execute_many(
        "INSERT INTO words (message, terms) SELECT id, ?::tsvector FROM transcript WHERE session = ? AND n = ?",
        [(make_vector(message.content), session, n) for n, message in enumerate(said, first)],
    )


def make_vector(content: str) -> str:
    """Return the words of a message with their positions, as PostgreSQL reads them."""
    places: dict[str, list[int]] = {}
    for position, word in enumerate(list_words(content[:MAX_INDEXED_CHARACTERS]), 1):
        if len(word.encode()) <= MAX_ACCENTED_WORD_BYTES:
            found = places.setdefault(word, [])
            if len(found) < MAX_POSITIONS_PER_ACCENTED_WORD:
                found.append(min(position, MAX_POSITION))
    return " ".join(f"'{word}':{','.join(map(str, found))}" for word, found in places.items())


def make_query(terms: tuple[SearchTerm, ...]) -> str:
    """Return a search as PostgreSQL reads it. Words have only letters and digits, so none is an operator."""
    wanted = " & ".join(_make_phrase(term) for term in terms if not term.excluded)
    unwanted = " | ".join(_make_phrase(term) for term in terms if term.excluded)
    return f"{wanted} & !({unwanted})" if unwanted else wanted


def _make_phrase(term: SearchTerm) -> str:
    words = [f"'{word}'" for word in list_words(term.text)]
    return f"({' <-> '.join(words)}{':*' if term.prefix else ''})"


def search_messages(reader: Reader, query: SearchQuery, page: Page) -> list[SearchHit]:
    """Return the messages that match, newest first."""
    conditions, values = ["words.terms @@ ?::tsquery"], [make_query(query.terms)]
    for column, value in (("transcript.session", query.session), ("sessions.agent", query.agent)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    reached = make_condition(query.reach, "sessions.agent", "transcript.session")
    conditions.append(reached.text)
    values += reached.values
    rows = reader.execute(
        "SELECT transcript.id, transcript.session, sessions.agent, role, run, at,"
        f" substr(content, 1, {MAX_INDEXED_CHARACTERS})"
        " FROM words JOIN transcript ON transcript.id = words.message"
        " JOIN sessions ON sessions.key = transcript.session"
        f" WHERE {' AND '.join(conditions)} AND words.message < ? ORDER BY words.message DESC LIMIT ?",
        (*values, page.before if page.before is not None else 1 << 62, page.limit),
    )

    def decode_in_time(row: Sequence[Any]) -> SearchHit:
        if reader.limit is not None:
            reader.limit.check()
        return _decode_hit(row, query.terms)

    return decode_rows(reader, RowKind.MESSAGE, rows, decode_in_time, lambda row: (row[0],))


def find_runs_of_messages(reader: Reader, terms: tuple[SearchTerm, ...], limit: int) -> list[int]:
    """Return the numbers of the runs of the newest messages that match, of at most so many messages."""
    rows = reader.execute(
        "SELECT runs.seq"
        " FROM (SELECT message FROM words WHERE terms @@ ?::tsquery ORDER BY message DESC LIMIT ?) AS found"
        " JOIN transcript ON transcript.id = found.message JOIN runs ON runs.id = transcript.run",
        (make_query(terms), limit),
    )
    return [seq for (seq,) in rows]


def reindex_message_batch(tx: Transaction) -> bool:
    """Return False: each message was indexed by its characters."""
    return False


def _decode_hit(row: Sequence[Any], terms: tuple[SearchTerm, ...]) -> SearchHit:
    position, session, agent, role, run, at, content = row
    excerpt = cut_excerpt(mark_matches(content, terms))
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


def mark_matches(content: str, terms: tuple[SearchTerm, ...]) -> str:
    """Return a text with marks around what matches, as FTS5 puts them; its characters are separated."""
    text = separate_characters(content.replace(MATCH_BEGIN, "").replace(MATCH_END, ""))
    found = [(match.span(), "".join(list_words(match[0]))) for match in _ACCENTED_WORD.finditer(text)]
    words = [word for _, word in found]
    marked, end = [], 0
    for first, last in _join_overlapping(sorted(_find_phrases(words, terms))):
        begin, stop = found[first][0][0], found[last][0][1]
        marked += [text[end:begin], MATCH_BEGIN, text[begin:stop], MATCH_END]
        end = stop
    return "".join((*marked, text[end:]))


def _find_phrases(words: Sequence[str], terms: tuple[SearchTerm, ...]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last word of each place where a term matches."""
    places: dict[str, list[int]] = {}
    for number, word in enumerate(words):
        places.setdefault(word, []).append(number)
    for term in terms:
        wanted = list_words(term.text)
        if term.excluded or not wanted:
            continue
        *before, last = wanted
        begins = places.get(before[0], []) if before else range(len(words))
        for begin in begins:
            end = begin + len(before)
            if end == len(words) or list(words[begin:end]) != before:
                continue
            if words[end].startswith(last) if term.prefix else words[end] == last:
                yield begin, end


def _join_overlapping(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined
