"""A connection that only reads, and ends a read that takes too long."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator

import psycopg
from psycopg import errors

from gateway.errors import Unavailable
from gateway.store.postgres import opening
from gateway.store.postgres.connection import PostgresConnection
from gateway.store.postgres.faults import describe_server, explain_loss
from gateway.store.sql.readers import TimeLimit


class PostgresReadConnection:
    """A connection that reads; when it is lost, the next read makes a new one."""

    def __init__(self, url: str, host: str, timeout_seconds: float) -> None:
        self._url = url
        self._connector = opening.Connector(url, timeout_seconds, host)
        self._connection: PostgresConnection | None = None
        self._limit: TimeLimit | None = None

    @property
    def connection(self) -> PostgresConnection:
        """The connection.

        Raises:
            Unavailable: there is none, and none can be made.
        """
        if self._connection is None or _is_lost(self._connection):
            self.close()
            self._connection = self._connect()
        self._connection.psycopg.limit = self._limit
        return self._connection

    def _connect(self) -> PostgresConnection:
        try:
            made = self._connector.connect()
            try:
                made.execute("SET default_transaction_read_only = on")
                return PostgresConnection(made)
            except BaseException:
                made.close()
                raise
        except psycopg.Error as error:
            raise explain_loss(error, describe_server(self._url)) from error

    @contextlib.contextmanager
    def limited(self, limit: TimeLimit) -> Iterator[None]:
        """End the statements that are still running when a limit is reached.

        Raises:
            TimedOut, Unavailable: a statement was ended.
        """
        self._limit = limit
        try:
            yield
        except (errors.QueryCanceled, Unavailable):
            if limit.is_reached():
                raise limit.explain_end() from None
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_lost(connection: PostgresConnection) -> bool:
    """Return whether a connection that was not in use is no more: the server may have been restarted meanwhile."""
    if connection.psycopg.closed:
        return True
    connection.psycopg.limit = None
    waiting = select.poll()
    waiting.register(connection.psycopg.fileno(), select.POLLIN)
    if not waiting.poll(0):
        return False
    try:  # the server has said something, perhaps that it ends
        connection.execute("SELECT 1").fetchone()
    except psycopg.Error:
        return True
    return False
