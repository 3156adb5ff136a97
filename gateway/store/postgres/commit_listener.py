"""Hears of the commits of other processes: each tells the others with NOTIFY.

https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable

import psycopg

from gateway import log
from gateway.domain.times import Clock
from gateway.store.postgres import opening

_log = log.get()

#: where commits are told
COMMIT_CHANNEL = "moongate_commits"
#: seconds after which a connection without news is looked at: it may be broken
CHECK_SECONDS = 2.0


class CommitListener:
    """A thread with a connection that listens. After each break it counts one commit more: it may have missed some."""

    def __init__(self, url: str, own_name: str, clock: Clock) -> None:
        """Args:
        own_name: what the own commits are told with; they are not counted.
        clock: tells the time of the server.
        """
        self._url = url
        self._own_name = own_name
        self._clock = clock
        #: a number that changes when another process has committed
        self.count = 0
        #: milliseconds after which the last commit of another process was heard; None if none was heard
        self.lag: int | None = None
        #: called on the listener's thread after each change of `count`; it must raise nothing
        self.on_commit: Callable[[], None] | None = None
        self._closed = threading.Event()
        #: what is sent here wakes the thread
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._listen_until_closed, name="store-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. This blocks for a moment."""
        self._closed.set()
        self._wake.send(b".")
        self._thread.join()
        self._wake.close()
        self._woken.close()

    def _listen_until_closed(self) -> None:
        while not self._closed.is_set():
            try:
                self._listen()
            except Exception as error:  # whatever it is, this process must hear of others again
                if not isinstance(error, psycopg.Error):
                    _log.warning("store.listener_broke", error=repr(error))
            self._closed.wait(opening.CONNECT_RETRY_SECONDS)

    def _listen(self) -> None:
        made = opening.connect(self._url, timeout_seconds=opening.SILENCE_TIMEOUT_SECONDS)
        # no select(): it fails in a process with many open files
        with contextlib.closing(made) as connection, selectors.DefaultSelector() as waiting:
            connection.execute(f"LISTEN {COMMIT_CHANNEL}")
            self._count_one()
            waiting.register(connection.fileno(), selectors.EVENT_READ)
            waiting.register(self._woken, selectors.EVENT_READ)
            while not self._closed.is_set():
                if not waiting.select(CHECK_SECONDS):
                    connection.execute("SELECT 1")
                for told in connection.notifies(timeout=0):
                    writer, _, committed = told.payload.partition(" ")
                    if writer != self._own_name:
                        self.lag = max(self._clock() - int(committed), 0)
                        self._count_one()

    def _count_one(self) -> None:
        self.count += 1
        if self.on_commit is not None:
            self.on_commit()
