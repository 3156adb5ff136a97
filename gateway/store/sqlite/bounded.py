"""Reads as many rows as fit into a number of bytes: some tables have rows of megabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def limit_bytes(rows: Iterable[Any], most: int | None, size_of: Callable[[Any], int]) -> Iterator[Any]:
    """Yield rows until they have more than so many bytes in all, but at least two.

    Args:
        most: None yields all.
        size_of: returns the size of the large columns of a row.
    """
    total = 0
    for count, row in enumerate(rows, 1):
        yield row
        total += size_of(row)
        if most is not None and total > most and count > 1:
            return
