"""Reads as many rows as fit into a number of bytes: some tables have rows of megabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class LimitedRows:
    """Yields rows until they have more than so many bytes in all, but at least two.

    It is no generator: that would end at a row that cannot be decoded, and hide those after it.
    """

    def __init__(self, rows: Iterable[Any], most: int | None, size_of: Callable[[Any], int]) -> None:
        """Args:
        most: None yields all.
        size_of: returns the size of the large columns of a row.
        """
        self._rows = iter(rows)
        self._room = most
        self._size_of = size_of
        self._count = 0

    def __iter__(self) -> LimitedRows:
        return self

    def __next__(self) -> Any:
        if self._room is not None and self._room < 0 and self._count > 1:
            raise StopIteration
        row = next(self._rows)
        self._count += 1
        if self._room is not None:
            self._room -= self._size_of(row)
        return row
