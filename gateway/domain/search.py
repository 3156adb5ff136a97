"""What people search transcripts for, and what is found.

The words of a query must all be there, and may go on; `"a phrase"` must be there as it is, `-word` must not be
there. Everything else is a word too: nothing that is typed can be wrong, but a query without any word.

Chinese, Japanese and Korean are searched by their characters, as they have no spaces between words, or have
more in a word than what is looked for.
"""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct

from gateway.domain.session import Role
from gateway.errors import InvalidRequest

#: characters of a query, and words or phrases in it that count
LENGTH, TERMS = 500, 16

#: letters that a word has at least that may go on without an asterisk: shorter ones are in too many words
BEGINNING = 3

#: stands around characters that are words of their own; no text has a use for it there
APART = "\u200b"
#: kana, Han and Hangul
_ALONE = re.compile(
    "([\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff])"
)
_TERM = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')


class Term(Struct, frozen=True):
    """A word, or several that follow each other."""

    text: str
    #: whether the last word may be the beginning of one
    prefix: bool = False
    #: whether it must not be there
    excluded: bool = False


class Search(Struct, frozen=True, kw_only=True):
    """What to look for; a None matches all."""

    terms: Annotated[tuple[Term, ...], Meta(min_length=1)]
    session: str | None = None
    agent: str | None = None


class Found(Struct, frozen=True, kw_only=True):
    """A message that a search found."""

    #: its place among all messages: newer ones are higher
    position: int
    session: str
    agent: str
    role: Role
    run: str
    #: milliseconds since 1970 UTC
    at: int
    #: the part of it with what was looked for
    snippet: str
    #: the words found there, as they are written there
    matches: tuple[str, ...]


def spaced(text: str) -> str:
    """Return a text with the characters set apart that are searched one by one; see `together`."""
    return text if text.isascii() else _ALONE.sub(f"{APART}\\1{APART}", text)


def together(text: str) -> str:
    """Return a text without what sets characters apart."""
    return text.replace(APART, "")


def terms(query: str) -> tuple[Term, ...]:
    """Return what a query looks for.

    Raises:
        InvalidRequest: there is no word to be found in it.
    """
    found = []
    for minus, phrase, word in _TERM.findall("".join(c if c.isprintable() else " " for c in query)):
        text = phrase or word
        if any(c.isalnum() for c in text):  # what is no letter and no digit is not kept with the words
            goes_on = bool(word) and (word.endswith("*") or (not minus and len(word) >= BEGINNING))
            found.append(Term(text, prefix=goes_on, excluded=bool(minus)))
    found = found[:TERMS]
    if all(term.excluded for term in found):
        raise InvalidRequest("q: give at least one word to look for.")
    return tuple(found)
