"""Conditions of statements, each with the values of its parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Condition(NamedTuple):
    """A condition, and the values of its parameters."""

    text: str
    values: tuple[Any, ...] = ()


#: what all rows fulfil
EVERY_ROW = Condition("TRUE")


def join_conditions(conditions: Iterable[Condition]) -> Condition:
    """Return the condition that all of them together are; without any, it is true."""
    given = list(conditions)
    text = " AND ".join(one.text for one in given)
    return Condition(text or "TRUE", tuple(value for one in given for value in one.values))


def begins_with(column: str, beginning: str) -> Condition:
    """Return the condition that the texts of a column begin so, as a range: an index finds it.

    Both databases compare texts by their code points: SQLite by its UTF-8, PostgreSQL by the collation `C` of its
    columns.
    """
    end = _find_end(beginning)
    if end is None:
        return Condition(f"{column} >= ?", (beginning,))
    return Condition(f"{column} >= ? AND {column} < ?", (beginning, end))


def _find_end(beginning: str) -> str | None:
    """Return the first text after all that begin so; None if there is none."""
    shorter = beginning.rstrip("\U0010ffff")
    if not shorter:
        return None
    following = ord(shorter[-1]) + 1
    if 0xD800 <= following <= 0xDFFF:  # a half of a character, which UTF-8 does not have
        following = 0xE000
    return shorter[:-1] + chr(following)
