"""A connection that only reads, and ends a read that takes too long."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
from psycopg import errors

from gateway.store.postgres import opening
from gateway.store.postgres.connection import PostgresConnection
from gateway.store.sql.readers import TimeLimit


class PostgresReadConnection:
    """A connection that reads; when it is lost, the next read makes a new one."""

    def __init__(self, url: str, host: str, timeout_seconds: float) -> None:
        self._url = url
        self._host = host
        self._timeout_seconds = timeout_seconds
        self._connection: PostgresConnection | None = None

    @property
    def connection(self) -> PostgresConnection:
        """The connection.

        Raises:
            psycopg.Error: there is none, and none can be made.
        """
        if self._connection is None or self._connection.psycopg.broken:
            self._connection = None
            made = opening.connect(self._url, timeout_seconds=self._timeout_seconds, host=self._host)
            made.execute("SET default_transaction_read_only = on")
            self._connection = PostgresConnection(made)
        return self._connection

    @contextlib.contextmanager
    def limited(self, limit: TimeLimit) -> Iterator[None]:
        """Let the server end a statement that takes too long.

        Raises:
            TimedOut, Unavailable: a statement was ended.
        """
        try:
            yield
        except errors.QueryCanceled:
            raise limit.explain_end() from None

    def interrupt(self) -> None:
        """Ask the server to end the statement that is running now."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.psycopg.cancel_safe(timeout=1.0)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
