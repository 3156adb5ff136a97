"""Readers of the stored logs: first the stored lines, then new ones, without a gap and without a repeat.

A reader is a cursor. A commit wakes the readers, and each of them reads what is after its cursor: from a short
tail that is kept in memory while there are readers, or else from the store. So a slow reader costs no memory, and
to reconnect is the same as to be late.

To wake thousands of readers costs more than to pass a line on, so a reader may have a sink: while the reader waits
for exactly the line that is committed, the sink gets the line at once, and the reader sleeps on. If the sink
refuses the line, the reader is woken, as one without a sink.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Generic, Protocol, TypeVar

from gateway.domain.event import Change, End, Event
from gateway.domain.ports.store import Commit, Store
from gateway.domain.run import Run
from gateway.errors import GatewayError

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

#: how many lines are kept in memory for each log that has readers
MAX_TAIL_LINES = 64
#: how many lines are read from the store at once
MAX_LINES_PER_READ = 64
#: seconds until the store is read again if it does not have lines that were announced
MISSING_LINES_PAUSE_SECONDS = 0.05
#: how many characters of text a reader holds at once; a single longer event is held all the same
MAX_HELD_CHARACTERS = 256 * 1024


class Sink(Protocol[T_contra]):
    """Where a reader's lines go."""

    def offer_line(self, line: T_contra) -> bool:
        """Pass a line on at once, without waiting. Returns False if that is not possible."""
        ...


class _FollowedLog(Generic[T]):
    """A log that has readers: its newest position, its last lines, and the readers that wait for more."""

    def __init__(self, position: Callable[[T], int]) -> None:
        self.readers = 0
        self.position = position
        #: the last lines; there is no gap between their positions
        self._tail: deque[T] = deque(maxlen=MAX_TAIL_LINES)
        self._latest = 0
        #: how often readers were told to read the store
        self.refreshes = 0
        self._waiting: dict[Reader[T], asyncio.Future[None]] = {}

    def add_line(self, line: T) -> None:
        position = self.position(line)
        if position != self._latest + 1:
            self._tail.clear()  # another process wrote in between; its lines are only in the store
        self._tail.append(line)
        self._latest = position
        self._wake_readers([reader for reader in self._waiting if not reader.accept_while_waiting(line, position)])

    def lines_after(self, cursor: int) -> list[T] | None:
        """Return the lines after a cursor, or None if the tail does not have all of them."""
        known, missing = len(self._tail), self._latest - cursor
        if not known or missing > known:
            return None
        return list(islice(self._tail, known - missing, None)) if missing > 0 else []

    def wake_all(self) -> None:
        """Wake all readers to read the store: another process may have written to it."""
        self._tail.clear()
        self.refreshes += 1
        self._wake_readers(list(self._waiting))

    def wait_for_more(self, reader: Reader[T], refreshes: int) -> asyncio.Future[None]:
        """Return a future that is done when there may be a line after the reader's cursor.

        When the reader stops waiting, for whatever reason, it must call `stop_waiting`.

        Args:
            refreshes: the number of refreshes before the reader last read; if there were more, it reads again.
        """
        future = asyncio.get_running_loop().create_future()
        if self._latest > reader.cursor or refreshes != self.refreshes:
            future.set_result(None)
        else:
            self._waiting[reader] = future
        return future

    def stop_waiting(self, reader: Reader[T]) -> None:
        self._waiting.pop(reader, None)

    def _wake_readers(self, readers: Iterable[Reader[T]]) -> None:
        for reader in readers:
            future = self._waiting.pop(
                reader
            )  # until it waits again, its sink gets no line that would overtake what it reads
            if not future.done():
                future.set_result(None)


class Reader(Generic[T]):
    """The lines of a log after a cursor, stored and then live: an asynchronous iterator without end.

    A class and no generator: thousands of readers wait at the same time, and generators need twice the memory.
    """

    __slots__ = ("_lines", "_log", "_sink", "_stored", "cursor")

    def __init__(self, log: _FollowedLog[T], cursor: int, stored: Callable[[int], Awaitable[Sequence[T]]]) -> None:
        self._log = log
        #: position of the last line that was yielded or passed on
        self.cursor = cursor
        self._stored = stored
        self._lines: Iterator[T] = iter(())
        self._sink: Sink[T] | None = None

    def attach_sink(self, sink: Sink[T]) -> None:
        """Offer a sink each line that comes while the reader waits for it. A line that it takes is not yielded."""
        self._sink = sink

    def accept_while_waiting(self, line: T, position: int) -> bool:
        """Pass a line on to the sink if it is the next one. Returns False if the reader has to be woken for it."""
        if position <= self.cursor:
            return True  # it was read from the store already
        if self._sink is None or position != self.cursor + 1 or not self._sink.offer_line(line):
            return False
        self.cursor = position
        return True

    def __aiter__(self) -> Reader[T]:
        return self

    async def __anext__(self) -> T:
        while (line := next(self._lines, None)) is None:
            known, refreshes = self._log.lines_after(self.cursor), self._log.refreshes
            lines = await self._stored(self.cursor) if known is None else _take_first_lines(known)
            if not lines:
                try:  # without a separate coroutine: thousands of readers wait here
                    more = self._log.wait_for_more(self, refreshes)
                    if known is None and more.done():  # the store had none of them
                        await asyncio.sleep(MISSING_LINES_PAUSE_SECONDS)
                    await more
                finally:
                    self._log.stop_waiting(self)
            self._lines = iter(lines)
        self.cursor = self._log.position(line)
        return line

    async def aclose(self) -> None:
        """Do nothing. A reader may be used in place of a generator, which has to be closed."""


class Hub:
    """Follows the events of runs and the changes of the gateway."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._runs: dict[str, _FollowedLog[Event]] = {}
        self._changes: _FollowedLog[Change] = _FollowedLog(lambda change: change.seq)
        self._ends: dict[str, list[asyncio.Future[Run | None]]] = {}
        store.subscribe(self._announce_commit)

    async def follow_run(self, run: str, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield a run's events after number `after`, stored and then live, up to its `End`."""
        with self._open_log(run) as log:
            known = await self._store.runs.get(run)
            if known.status.is_final and after >= known.last_event:
                return
            after = min(after, known.last_event)  # a reader beyond the end would wait for ever
            async for event in Reader(
                log,
                after,
                lambda cursor: self._store.events.read_after(run, cursor, MAX_LINES_PER_READ, MAX_HELD_CHARACTERS),
            ):
                yield event
                if isinstance(event.data, End):
                    return

    async def follow_changes(self, after: int | None) -> Reader[Change]:
        """Return a reader of the changes after a position, stored and then live; of new changes only if it is None."""
        last = await self._store.events.last_change()
        return Reader(self._changes, last if after is None else min(after, last), self._read_stored_changes)

    async def _read_stored_changes(self, cursor: int) -> Sequence[Change]:
        return await self._store.events.read_changes_after(cursor, MAX_LINES_PER_READ)

    @contextmanager
    def expect_end(self, run: str) -> Iterator[asyncio.Future[Run | None]]:
        """Return a future of the run as it ends, or of None when it has to be read: see `release_waiters`.

        Expect the end first, and then check whether the run has ended already.
        """
        future: asyncio.Future[Run | None] = asyncio.get_running_loop().create_future()
        waiting = self._ends.setdefault(run, [])
        waiting.append(future)
        try:
            yield future
        finally:
            waiting.remove(future)
            if not waiting:
                self._ends.pop(run, None)

    def release_waiters(self) -> None:
        """Tell all who expect the end of a run to read it now, whether it has ended or not."""
        for run in list(self._ends):
            self._announce_end(run, None)

    async def announce_external_commits(self) -> None:
        """Announce what another process has committed: events, changes, and the ends of runs that callers wait for."""
        self._changes.wake_all()
        for log in self._runs.values():
            log.wake_all()
        for run in list(self._ends):
            try:
                has_ended = (await self._store.runs.get(run)).status.is_final
            except GatewayError:  # those who wait for it find out why
                has_ended = True
            if has_ended:
                self._announce_end(run, None)

    def _announce_commit(self, commit: Commit) -> None:
        for event in commit.events if self._runs else ():
            log = self._runs.get(event.run)
            if log is not None:
                log.add_line(event)
        for run in commit.ended:
            self._announce_end(run.id, run)
        for change in commit.changes:
            self._changes.add_line(change)

    def _announce_end(self, run: str, ended: Run | None) -> None:
        for future in self._ends.get(run, ()):
            if not future.done():
                future.set_result(ended)

    @contextmanager
    def _open_log(self, run: str) -> Iterator[_FollowedLog[Event]]:
        log = self._runs.setdefault(run, _FollowedLog(lambda event: event.number))
        log.readers += 1
        try:
            yield log
        finally:
            log.readers -= 1
            if not log.readers:
                self._runs.pop(run, None)


def _take_first_lines(lines: list[T]) -> list[T]:
    """Return as many lines as a reader may hold: a slow reader would keep all of them in memory."""
    room = MAX_HELD_CHARACTERS
    for count, line in enumerate(lines):
        room -= len(getattr(line.data, "delta", "")) if isinstance(line, Event) else 0
        if room < 0 and count:
            return lines[:count]
    return lines
