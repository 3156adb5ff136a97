"""Search queries over transcripts, and their results.

A message matches if it contains all words of the query. A word also matches the beginning of a longer word.
`"a phrase"` must occur exactly, `-word` must not occur. All other characters are read as words, so every query
is valid except one without any word.

Chinese, Japanese and Korean text is searched by single characters, because these languages do not put spaces
between words, or put several words into one.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from msgspec import Meta, Struct

from gateway.domain.reach import Reach
from gateway.domain.session import Role
from gateway.errors import InvalidRequest

#: longest query
MAX_QUERY_CHARACTERS = 500

#: words and phrases of a query that are used; the rest is ignored
MAX_QUERY_TERMS = 16

#: a word of at least so many letters also matches longer words, without an asterisk; a shorter one would match most
MIN_PREFIX_LETTERS = 3

#: put around each character that is searched as a word; it has no meaning there in any text
CHARACTER_SEPARATOR = "\u200b"
#: kana, Han and Hangul; compiled at the first use, because that takes milliseconds
_CJK_CHARACTER = (
    "([\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff])"
)
#: letters and digits, as in the index
_WORD_PATTERN = re.compile(r"[^\W_]+")
_TERM_PATTERN = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')


class SearchTerm(Struct, frozen=True):
    """A word, or a phrase of several words."""

    text: str
    #: whether the last word also matches the beginning of a longer word
    prefix: bool = False
    #: whether it must not occur
    excluded: bool = False


class SearchQuery(Struct, frozen=True, kw_only=True):
    """What to search for; None matches all."""

    terms: Annotated[tuple[SearchTerm, ...], Meta(min_length=1)]
    session: str | None = None
    agent: str | None = None
    #: messages of sessions that a limited caller reaches
    reach: Reach | None = None


class SearchHit(Struct, frozen=True, kw_only=True):
    """A message that matches a search query."""

    #: position among all messages; newer messages have higher ones
    position: int
    session: str
    agent: str
    role: Role
    run: str
    #: milliseconds since 1970 UTC
    at: int
    #: the part of the message with the matches
    snippet: str
    #: the matching words, as the message has them
    matches: tuple[str, ...]


def separate_characters(text: str) -> str:
    """Return a text with a separator around each character that is searched as a word."""
    return text if text.isascii() else re.sub(_CJK_CHARACTER, f"{CHARACTER_SEPARATOR}\\1{CHARACTER_SEPARATOR}", text)


def join_characters(text: str) -> str:
    """Return a text without the separators around its characters."""
    return text.replace(CHARACTER_SEPARATOR, "")


def parse_terms(query: str, field: str = "q") -> tuple[SearchTerm, ...]:
    """Return the words and phrases of a query, each once.

    Args:
        field: the field of the request that has the query, for the error.

    Raises:
        InvalidRequest: the query has no word that must occur.
    """
    found: dict[tuple[str, bool, bool], SearchTerm] = {}
    for minus, phrase, word in _TERM_PATTERN.findall("".join(c if c.isprintable() else " " for c in query)):
        text = phrase or word
        if any(c.isalnum() for c in text):  # the index has only letters and digits
            goes_on = bool(word) and (word.endswith("*") or (not minus and len(word) >= MIN_PREFIX_LETTERS))
            term = SearchTerm(text, prefix=goes_on, excluded=bool(minus))
            found.setdefault((text.casefold().rstrip("*"), goes_on, term.excluded), term)
    terms = tuple(found.values())[:MAX_QUERY_TERMS]
    if all(term.excluded for term in terms):
        raise InvalidRequest(f"{field}: the query needs at least one word to search for.")
    return terms


def match_terms(text: str, terms: tuple[SearchTerm, ...]) -> bool:
    """Return whether a text has all words that must occur, and none that must not; words are as in the index."""
    words = list_words(text)
    return all(_has_phrase(words, term) is not term.excluded for term in terms)


def list_words(text: str) -> list[str]:
    if text.isascii():
        return _WORD_PATTERN.findall(text.lower())
    plain = unicodedata.normalize("NFD", separate_characters(text).casefold())
    return _WORD_PATTERN.findall("".join(one for one in plain if not unicodedata.combining(one)))


def _has_phrase(words: list[str], term: SearchTerm) -> bool:
    wanted = list_words(term.text)
    *first, last = wanted or [""]
    if not first:
        return any(word.startswith(last) for word in words) if term.prefix else last in words
    for begin in range(len(words) - len(wanted) + 1):
        *before, end = words[begin : begin + len(wanted)]
        if before == first and (end.startswith(last) if term.prefix else end == last):
            return True
    return False
