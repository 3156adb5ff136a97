"""A dictionary for what a process learns while it serves: it must not grow with the months of its life."""

from __future__ import annotations

from typing import TypeVar

#: values that are kept, unless a dictionary is made for more or fewer
MAX_NEWEST_VALUES = 256

K = TypeVar("K")
V = TypeVar("V")


class NewestValues(dict[K, V]):
    """A dictionary of the values that were set last. For each new one too many, the value that was set first goes.

    Set values by `values[key] = value` only: the other ways to change a dictionary keep no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self._limit = MAX_NEWEST_VALUES if limit is None else limit

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key, None)  # it goes to the end
        super().__setitem__(key, value)
        if len(self) > self._limit:
            del self[next(iter(self))]
