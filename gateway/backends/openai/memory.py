"""What servers have shown of their models, for a while: they may have been changed since."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

#: seconds for which something is remembered, and how many things are, of one sort
REMEMBERED_SECONDS, MAX_REMEMBERED = 3600.0, 1024

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """Values that are forgotten after a while; where there are too many, the oldest first."""

    def __init__(self) -> None:
        #: each value, and until when it counts
        self._kept: dict[Key, tuple[Value, float]] = {}

    def find(self, key: Key) -> Value | None:
        found = self._kept.get(key)
        return found[0] if found is not None and asyncio.get_running_loop().time() < found[1] else None

    def keep(self, key: Key, value: Value) -> None:
        self._kept.pop(key, None)
        if len(self._kept) >= MAX_REMEMBERED:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = value, asyncio.get_running_loop().time() + REMEMBERED_SECONDS
