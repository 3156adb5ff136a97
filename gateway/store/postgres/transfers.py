"""Connections that carry the contents of files: those of the store know no bytes, and must not wait for large files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from gateway.errors import Unavailable
from gateway.store.postgres import opening
from gateway.store.postgres.failures import translate_error
from gateway.store.postgres.faults import describe_server, first_line

T = TypeVar("T")

#: idle connections that are kept; each transfer under way has one
MAX_IDLE_CONNECTIONS = 2
#: seconds that one statement may take: it carries some pieces
TRANSFER_TIMEOUT_SECONDS = 60


class Transfers:
    """Runs operations, each on a connection that no other one uses. Any thread may call it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._where = describe_server(url)
        self._idle: list[psycopg.Connection[Any]] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def run(self, operation: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Run an operation. It may run twice, if the server had closed the connection meanwhile.

        Raises:
            StorageFull, Unavailable: the server refuses.
        """
        try:
            return self._run_again_if_stale(operation)
        except psycopg.Error as error:
            told = translate_error(error, self._where)
            if told is error:
                told = Unavailable(
                    f"{self._where} refused a file: {first_line(error)}.", remedy="Look at the server, or wait."
                )
            raise told from error

    def close(self) -> None:
        """Close the idle connections; those in use are closed after it."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _run_again_if_stale(self, operation: Callable[[psycopg.Connection[Any]], T]) -> T:
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        if idle is not None:
            try:
                return self._run_on(idle, operation)
            except psycopg.Error:
                if not idle.closed:
                    raise
        return self._run_on(opening.connect(self._url, timeout_seconds=TRANSFER_TIMEOUT_SECONDS), operation)

    def _run_on(self, connection: psycopg.Connection[Any], operation: Callable[[psycopg.Connection[Any]], T]) -> T:
        try:
            return operation(connection)
        finally:
            self._give_back(connection)

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            is_kept = not connection.closed and not self._is_closed and len(self._idle) < MAX_IDLE_CONNECTIONS
            if is_kept:
                self._idle.append(connection)
        if not is_kept:
            connection.close()
