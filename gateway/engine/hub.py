"""Live readers over the stored logs: replay, then what comes, without a gap and without a repeat.

A reader is a cursor. When something is committed, readers are woken and take what is after their
cursor: from a short tail that is kept in memory while there are readers, else from the store. So a
slow reader costs no memory, and coming back is the same as being late.

Waking thousands costs more than telling them, so a reader may have a sink: while it waits for the very line
that is told, the line is passed on at once, and it sleeps on. A sink that refuses has it woken as if it had none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Generic, Protocol, TypeVar

from gateway.domain.event import Change, End, Event
from gateway.domain.ports.store import Store

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

#: lines kept in memory for each log that has readers
TAIL = 64
#: lines read from the store at once
PAGE = 64
#: characters of text that a reader holds at once, but for a single longer event
HELD = 256 * 1024


class Sink(Protocol[T_contra]):
    """Where a reader's lines go."""

    def offer(self, line: T_contra) -> bool:
        """Pass a line on at once, without waiting; returns False if that cannot be."""
        ...


class _Log(Generic[T]):
    """One log with readers: the newest position, its last lines, and who waits for more."""

    def __init__(self, position: Callable[[T], int]) -> None:
        self.readers = 0
        self.position = position
        #: the last lines, their positions without a gap
        self._tail: deque[T] = deque(maxlen=TAIL)
        self._latest = 0
        #: how often readers were told to look into the store
        self.looks = 0
        self._waiting: dict[Reader[T], asyncio.Future[None]] = {}

    def tell(self, line: T) -> None:
        position = self.position(line)
        if position != self._latest + 1:
            self._tail.clear()  # another process wrote in between: what it wrote is in the store only
        self._tail.append(line)
        self._latest = position
        self._wake([reader for reader in self._waiting if not reader.sleeps_on(line, position)])

    def after(self, cursor: int) -> list[T] | None:
        """Return the lines after a cursor if the tail has them all, else None."""
        known, missing = len(self._tail), self._latest - cursor
        if not known or missing > known:
            return None
        return list(islice(self._tail, known - missing, None)) if missing > 0 else []

    def refresh(self) -> None:
        """Have readers look into the store: another process may have written there."""
        self._tail.clear()
        self.looks += 1
        self._wake(list(self._waiting))

    def more(self, reader: Reader[T], looks: int) -> asyncio.Future[None]:
        """Return what is done when there may be more than a reader saw that began to look after so many looks.

        The reader says `leave` once it waits no longer, for whatever reason.
        """
        future = asyncio.get_running_loop().create_future()
        if self._latest > reader.cursor or looks != self.looks:
            future.set_result(None)
        else:
            self._waiting[reader] = future
        return future

    def leave(self, reader: Reader[T]) -> None:
        self._waiting.pop(reader, None)

    def _wake(self, readers: Iterable[Reader[T]]) -> None:
        for reader in readers:
            future = self._waiting.pop(reader)  # from now on, until it waits again, nothing may overtake what it reads
            if not future.done():
                future.set_result(None)


class Reader(Generic[T]):
    """The lines of a log after a cursor, stored and then live: an asynchronous iterator without end.

    No generator: thousands wait at the same time, and a generator costs them twice the memory.
    """

    __slots__ = ("_lines", "_log", "_sink", "_stored", "cursor")

    def __init__(self, log: _Log[T], cursor: int, stored: Callable[[int], Awaitable[Sequence[T]]]) -> None:
        self._log = log
        #: position of the last line that was taken or passed on
        self.cursor = cursor
        self._stored = stored
        self._lines: Iterator[T] = iter(())
        self._sink: Sink[T] | None = None

    def pour(self, sink: Sink[T]) -> None:
        """Offer lines that come while somebody waits for the next one to a sink: what it takes is not yielded."""
        self._sink = sink

    def sleeps_on(self, line: T, position: int) -> bool:
        """Pass a line on if it is the next one; returns whether there is nothing that this has to be woken for."""
        if position <= self.cursor:
            return True  # the store had it already
        if self._sink is None or position != self.cursor + 1 or not self._sink.offer(line):
            return False
        self.cursor = position
        return True

    def __aiter__(self) -> Reader[T]:
        return self

    async def __anext__(self) -> T:
        while (line := next(self._lines, None)) is None:
            known, looks = self._log.after(self.cursor), self._log.looks
            lines = await self._stored(self.cursor) if known is None else _first(known)
            if not lines:
                try:  # no coroutine of its own, as thousands wait here
                    await self._log.more(self, looks)
                finally:
                    self._log.leave(self)
            self._lines = iter(lines)
        self.cursor = self._log.position(line)
        return line

    async def aclose(self) -> None:
        """Do nothing: it may stand where generators do, which have to be closed."""


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
            known = await self._store.runs.get(run)
            if known.status.final and after >= known.last_event:
                return
            after = min(after, known.last_event)  # or a reader from beyond the end would wait there for ever
            async for event in Reader(
                log, after, lambda cursor: self._store.events.read_after(run, cursor, PAGE, HELD)
            ):
                yield event
                if isinstance(event.data, End):
                    return

    async def changes(self, after: int | None) -> Reader[Change]:
        """Follow changes after a position, stored and then live; from now on without one."""
        last = await self._store.events.last_change()
        return Reader(self._changes, last if after is None else min(after, last), self._stored_changes)

    async def _stored_changes(self, cursor: int) -> Sequence[Change]:
        return await self._store.events.read_changes_after(cursor, PAGE)

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
            if (await self._store.runs.get(run)).status.final:
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


def _first(lines: list[T]) -> list[T]:
    """Return as many lines as a reader may hold: a slow one would keep all of them from being forgotten."""
    room = HELD
    for count, line in enumerate(lines):
        room -= len(getattr(line.data, "delta", "")) if isinstance(line, Event) else 0
        if room < 0 and count:
            return lines[:count]
    return lines
