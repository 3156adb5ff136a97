"""Hears of the commits of other processes: each tells the others with NOTIFY.

https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable

import psycopg

from gateway.store.postgres import opening

#: where commits are told
COMMIT_CHANNEL = "moongate_commits"
#: seconds after which a connection without news is looked at: it may be broken
CHECK_SECONDS = 2.0
#: seconds between two tries to connect again
RECONNECT_PAUSE_SECONDS = 0.5


class CommitListener:
    """A thread with a connection that listens. After each break it counts one commit more: it may have missed some."""

    def __init__(self, url: str) -> None:
        self._url = url
        #: a number that changes when another process has committed
        self.count = 0
        #: the process of the server that writes for us
        self.own_writer = 0
        #: called on the listener's thread after each change of `count`
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
            with contextlib.suppress(psycopg.Error):
                self._listen()
            self._closed.wait(RECONNECT_PAUSE_SECONDS)

    def _listen(self) -> None:
        made = opening.connect(self._url, timeout_seconds=opening.SILENCE_TIMEOUT_SECONDS)
        with contextlib.closing(made) as connection:
            connection.execute(f"LISTEN {COMMIT_CHANNEL}")
            self._count_one()
            while not self._closed.is_set():
                select.select([connection.fileno(), self._woken.fileno()], [], [], CHECK_SECONDS)
                for told in connection.notifies(timeout=0):
                    if told.payload != str(self.own_writer):
                        self._count_one()

    def _count_one(self) -> None:
        self.count += 1
        if self.on_commit is not None:
            self.on_commit()
