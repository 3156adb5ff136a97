"""A thing that happens once, told to those who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


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

    def telling(self, listener: Callable[[], None]) -> _Telling:
        """Have a function called when it happens, at once if it has; for the time of a `with` block."""
        return _Telling(self, listener)

    def _add(self, listener: Callable[[], None]) -> None:
        if self.is_set:
            listener()
        else:
            self._listeners.add(listener)

    def _remove(self, listener: Callable[[], None]) -> None:
        self._listeners.discard(listener)


class _Telling:
    """No generator, as each of thousands of streams has two."""

    __slots__ = ("_latch", "_listener")

    def __init__(self, latch: Latch, listener: Callable[[], None]) -> None:
        self._latch = latch
        self._listener = listener

    def __enter__(self) -> None:
        self._latch._add(self._listener)

    def __exit__(self, *exc: object) -> None:
        self._latch._remove(self._listener)
