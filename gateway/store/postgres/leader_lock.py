"""The lock of the process that leads a fleet: an advisory lock, which the server frees when its connection breaks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from gateway.errors import Unavailable
from gateway.store.postgres import opening
from gateway.store.postgres.faults import first_line

T = TypeVar("T")
#: seconds after which a leader that has not looked at its lock counts as stopped or cut off: it looks every 2 seconds
LEADER_SILENCE_SECONDS = 20.0

#: ends the connection of such a leader. The server may keep that open for hours, and so the lock
_END_SILENT_LEADER = """
SELECT pg_terminate_backend(pg_locks.pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND state_change < clock_timestamp() - make_interval(secs => %s)
"""


class PostgresLeaderLock:
    """`LeaderLock` with a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None
        #: held while a thread uses the connection: a caller that is cancelled leaves its thread behind
        self._in_use = threading.Lock()

    async def try_acquire(self) -> bool:
        return await asyncio.to_thread(self._use, self._try_acquire)

    async def is_held(self) -> bool:
        return await asyncio.to_thread(self._use, self._is_held)

    async def release(self) -> None:
        self._interrupt()
        await asyncio.to_thread(self._use, self._close)

    def _use(self, act: Callable[[], T]) -> T:
        with self._in_use:
            return act()

    def _interrupt(self) -> None:
        """Break the connection under a thread that waits for a server which does not answer."""
        connection = self._connection
        if connection is not None and self._in_use.locked():
            with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)

    def _try_acquire(self) -> bool:
        try:
            if self._connection is None:
                self._connection = opening.connect(self._url, timeout_seconds=opening.SILENCE_TIMEOUT_SECONDS)
            lock = opening.LOCK_SPACE, opening.LEADER_LOCK
            if self._connection.execute("SELECT pg_try_advisory_lock(%s, %s)", lock).fetchone() == (True,):
                return True
            self._connection.execute(_END_SILENT_LEADER, (*lock, LEADER_SILENCE_SECONDS))
        except psycopg.Error as error:
            self._close()
            raise Unavailable(f"nobody can be made the leader: {first_line(error)}.") from error
        return False

    def _is_held(self) -> bool:
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            self._close()
            return False
        return True

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()
