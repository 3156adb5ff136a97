"""Live readers over the stored logs: replay, then what comes, without a gap and without a repeat.

A reader is a cursor. When something is committed, readers are woken and take what is after their
cursor: from a short tail that is kept in memory while there are readers, else from the store. So a
slow reader costs no memory, and coming back is the same as being late.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from gateway.domain.event import Change, End, Event
from gateway.domain.ports import Store

T = TypeVar("T")

#: lines kept in memory for each log that has readers
TAIL = 64
#: lines read from the store at once
PAGE = 64
#: characters of text that a reader holds at once, but for a single longer event
HELD = 256 * 1024


class _Log(Generic[T]):
    """One log with readers: the newest position, its last lines, and who waits for more."""

    def __init__(self, position: Callable[[T], int]) -> None:
        self.readers = 0
        self._position = position
        self._tail: deque[T] = deque(maxlen=TAIL)
        self._latest = 0
        self._looks = 0
        self._more = asyncio.Event()

    def tell(self, line: T) -> None:
        if self._tail and self._position(line) != self._position(self._tail[-1]) + 1:
            self._tail.clear()  # another process wrote in between: what it wrote is in the store only
        self._tail.append(line)
        self._latest = self._position(line)
        self._more.set()

    def after(self, cursor: int) -> list[T] | None:
        """Return the lines after a cursor if the tail has them all, else None."""
        if not self._tail or self._position(self._tail[0]) > cursor + 1:
            return None
        return [line for line in self._tail if self._position(line) > cursor]

    def refresh(self) -> None:
        """Have readers look into the store: another process may have written there."""
        self._tail.clear()
        self._looks += 1
        self._more.set()

    async def wait(self, cursor: int) -> None:
        looks = self._looks
        while self._latest <= cursor and looks == self._looks:
            self._more.clear()
            await self._more.wait()


class Hub:
    """Follows runs and changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._runs: dict[str, _Log[Event]] = {}
        self._changes: _Log[Change] = _Log(lambda change: change.seq)
        self._ends: dict[str, list[asyncio.Future[None]]] = {}
        store.subscribe(self._tell)

    async def follow(self, run: str, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield a run's events after number `after`, stored and then live; ends after `End`."""
        with self._reading(run) as log:
            known = await self._store.run(run)
            if known.status.final and after >= known.last_event:
                return
            after = min(after, known.last_event)  # or a reader from beyond the end would wait there for ever
            async for event in _read(
                log, after, lambda cursor: self._store.events(run, cursor, PAGE, HELD), lambda e: e.n
            ):
                yield event
                if isinstance(event.data, End):
                    return

    async def changes(self, after: int) -> AsyncGenerator[Change, None]:
        """Yield changes after position `after`, stored and then live; never ends."""
        after = min(after, await self._store.last_change())
        stored = lambda cursor: self._store.changes(cursor, PAGE)  # noqa: E731
        async for change in _read(self._changes, after, stored, lambda change: change.seq):
            yield change

    async def ended(self, run: str) -> None:
        """Wait until a run has ended; start waiting before looking whether it has already."""
        future = asyncio.get_running_loop().create_future()
        waiting = self._ends.setdefault(run, [])
        waiting.append(future)
        try:
            await future
        finally:
            waiting.remove(future)
            if not waiting:
                self._ends.pop(run, None)

    async def refresh(self) -> None:
        """Look for what another process has written: its events, its changes, ends that are waited for."""
        self._changes.refresh()
        for log in self._runs.values():
            log.refresh()
        for run in list(self._ends):
            if (await self._store.run(run)).status.final:
                self._end(run)

    def _tell(self, events: Sequence[Event], changes: Sequence[Change]) -> None:
        for event in events:
            log = self._runs.get(event.run)
            if log is not None:
                log.tell(event)
            if isinstance(event.data, End):
                self._end(event.run)
        for change in changes:
            self._changes.tell(change)

    def _end(self, run: str) -> None:
        for future in self._ends.get(run, ()):
            if not future.done():
                future.set_result(None)

    @contextmanager
    def _reading(self, run: str) -> Iterator[_Log[Event]]:
        log = self._runs.setdefault(run, _Log(lambda event: event.n))
        log.readers += 1
        try:
            yield log
        finally:
            log.readers -= 1
            if not log.readers:
                self._runs.pop(run, None)


async def _read(
    log: _Log[T],
    cursor: int,
    stored: Callable[[int], Awaitable[Sequence[T]]],
    position: Callable[[T], int],
) -> AsyncGenerator[T, None]:
    while True:
        lines = log.after(cursor)
        lines = list(await stored(cursor)) if lines is None else _first(lines)
        for line in lines:
            cursor = position(line)
            yield line
        if not lines:
            await log.wait(cursor)


def _first(lines: list[T]) -> list[T]:
    """Return as many lines as a reader may hold: a slow one would keep all of them from being forgotten."""
    room = HELD
    for count, line in enumerate(lines):
        room -= len(getattr(line.data, "delta", "")) if isinstance(line, Event) else 0
        if room < 0 and count:
            return lines[:count]
    return lines
