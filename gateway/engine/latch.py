"""An event that happens once, and the listeners that are called then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


class Latch:
    """An `asyncio.Event` that is never cleared, and that calls listeners: they need no task each."""

    def __init__(self) -> None:
        self._set = asyncio.Event()
        self._listeners: set[Callable[[], None]] = set()

    @property
    def is_set(self) -> bool:
        return self._set.is_set()

    def set(self) -> None:
        """Set the latch and call its listeners. Setting it twice is fine."""
        self._set.set()
        listeners, self._listeners = self._listeners, set()
        with contextlib.ExitStack() as each:  # calls all of them, also if one raises
            for listener in listeners:
                each.callback(listener)

    async def wait(self) -> None:
        await self._set.wait()

    def notify_listener(self, listener: Callable[[], None]) -> _ListenerScope:
        """Call a listener when the latch is set during a `with` block, or at once if it is set already."""
        return _ListenerScope(self, listener)

    def _add_listener(self, listener: Callable[[], None]) -> None:
        if self.is_set:
            listener()
        else:
            self._listeners.add(listener)

    def _remove_listener(self, listener: Callable[[], None]) -> None:
        self._listeners.discard(listener)


class _ListenerScope:
    """A class and no generator, which needs more memory: each of thousands of streams has two of these."""

    __slots__ = ("_latch", "_listener")

    def __init__(self, latch: Latch, listener: Callable[[], None]) -> None:
        self._latch = latch
        self._listener = listener

    def __enter__(self) -> None:
        self._latch._add_listener(self._listener)

    def __exit__(self, *exc: object) -> None:
        self._latch._remove_listener(self._listener)
