"""A thing that happens once, told to those who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Latch:
    """Like `asyncio.Event` that is never cleared, and that calls back without a task for each listener."""

    def __init__(self) -> None:
        self._set = asyncio.Event()
        self._listeners: set[Callable[[], None]] = set()

    @property
    def is_set(self) -> bool:
        return self._set.is_set()

    def set(self) -> None:
        """Let it happen. A second time is nothing new."""
        self._set.set()
        listeners, self._listeners = self._listeners, set()
        for listener in listeners:
            listener()

    async def wait(self) -> None:
        await self._set.wait()

    @contextmanager
    def telling(self, listener: Callable[[], None]) -> Iterator[None]:
        """Have a function called when it happens, at once if it has; for the time of the block."""
        if self.is_set:
            listener()
        else:
            self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)
