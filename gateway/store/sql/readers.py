"""Threads that read: each has a connection of its own, and each read has a time limit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar

from gateway.errors import TimedOut, Unavailable

if TYPE_CHECKING:
    from gateway.store.sql.transaction import Connection

T = TypeVar("T")


class TimeLimit:
    """Until when one read may go on."""

    def __init__(self, seconds: float) -> None:
        #: seconds that the read may take
        self.seconds = seconds
        #: set when nobody waits for the result any more
        self.abandoned = False
        #: set when the pool closes
        self.closing = False
        self._until = float("inf")

    def start(self) -> None:
        """Count from now on: the time in which the read waited for a thread is not its own."""
        self._until = time.monotonic() + self.seconds

    @property
    def is_started(self) -> bool:
        """Whether the read has begun."""
        return self._until < float("inf")

    def is_reached(self) -> bool:
        """Return whether the read has to end now."""
        return self.abandoned or self.closing or time.monotonic() >= self._until

    def check(self) -> None:
        """End a read that works on rows in Python.

        Raises:
            TimedOut, Unavailable: the limit is reached.
        """
        if self.is_reached():
            raise self.explain_end()

    def explain_end(self) -> TimedOut | Unavailable:
        """Return the error of a read that had to end."""
        if self.closing:
            return Unavailable("the gateway is stopping.")
        return TimedOut(
            f"reading the database took longer than {self.seconds:g} s.",
            remedy="Ask for less at once, or try again when the gateway has less to do.",
        )


class ReadConnection(Protocol):
    """A connection that only reads."""

    @property
    def connection(self) -> Connection: ...

    def limited(self, limit: TimeLimit) -> AbstractContextManager[None]:
        """End the statements that are still running when a limit is reached, with the error that explains it."""
        ...

    def close(self) -> None: ...


class ReaderPool:
    """Reads a database in threads of its own. Use from one event loop."""

    def __init__(self, open_connection: Callable[[], ReadConnection], name: str, threads: int) -> None:
        self._open = open_connection
        self._local = threading.local()
        self._connections: list[ReadConnection] = []
        self._limits: set[TimeLimit] = set()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run_read(self, read: Callable[[Connection, TimeLimit], T], seconds: float) -> T:
        """Run a read in one of the threads. A caller that is cancelled ends its read.

        Raises:
            TimedOut: it took longer than so many seconds.
        """
        limit = TimeLimit(seconds)
        self._limits.add(limit)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._run_in_thread, read, limit)
        except asyncio.CancelledError:
            limit.abandoned = True
            raise
        finally:
            self._limits.discard(limit)

    def _run_in_thread(self, read: Callable[[Connection, TimeLimit], T], limit: TimeLimit) -> T:
        if not hasattr(self._local, "connection"):
            self._local.connection = self._open()
            self._connections.append(self._local.connection)
        limit.start()
        reading: ReadConnection = self._local.connection
        with reading.limited(limit):
            return read(reading.connection, limit)

    def close(self) -> None:
        """End the reads under way, and close the connections. This blocks for a moment."""
        for limit in list(self._limits):
            limit.closing = True
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()
