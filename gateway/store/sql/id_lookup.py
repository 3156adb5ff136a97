"""Finds ids by a part that a person typed: ids of the same weeks begin alike, so that the last characters are handy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gateway.store.sql.transaction import Reader

#: least characters of a part that need not be the beginning
MIN_PART_CHARACTERS = 4
#: ids that are searched for a part that is not the beginning: the newest
MAX_SEARCHED_IDS = 100_000
#: ids that are listed when a part is ambiguous
MAX_CANDIDATES = 5


def find_ids(reader: Reader, table: Literal["runs", "deliveries", "files"], part: str) -> list[str]:
    """Return the ids, newest first, that begin with a part; if none does, the newest ones that contain it.

    More than `MAX_CANDIDATES` are not returned, but one more, which shows that there are more.
    """
    wanted = part.upper()
    if not (wanted.isascii() and wanted.isalnum() and len(wanted) <= 26):
        return []
    beginning = f"SELECT id FROM {table} WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT {MAX_CANDIDATES + 1}"
    found = [str(id_) for (id_,) in reader.execute(beginning, (wanted, wanted + "~"))]
    if found or len(wanted) < MIN_PART_CHARACTERS:
        return found
    newest = f"SELECT id FROM {table} ORDER BY id DESC LIMIT {MAX_SEARCHED_IDS}"
    containing = f"SELECT id FROM ({newest}) AS newest WHERE instr(id, ?) > 0 LIMIT {MAX_CANDIDATES + 1}"
    return [str(id_) for (id_,) in reader.execute(containing, (wanted,))]


def describe_misses(noun: str, nouns: str, part: str, found: Sequence[str]) -> str:
    """Return why a part of an id does not name one thing: there is none, or there are several, which are listed."""
    if not found:
        return f"there is no {noun} with the id {part[:64]!r}."
    listed = ", ".join(found[:MAX_CANDIDATES]) + (", …" if len(found) > MAX_CANDIDATES else "")
    return (
        f"several {nouns} have {part[:64]!r} in their ids: {listed}. Give more of the id, such as its last characters."
    )
