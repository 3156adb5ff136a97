"""A connection that waits for nothing for ever: not for a statement that takes too long, nor for a silent server."""

from __future__ import annotations

import contextlib
import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from gateway.store.sql.readers import TimeLimit

#: seconds between two looks at the limits of a statement
LIMIT_CHECK_SECONDS = 0.05
#: seconds in which a server must end a statement that it is asked to end; then its connection is closed
CANCEL_GRACE_SECONDS = 2.0

RV = TypeVar("RV")


class GuardedConnection(psycopg.Connection[Any]):
    """Ends what runs on it when a limit is reached, whatever the server does."""

    #: seconds that one statement may take
    max_statement_seconds: float = float("inf")
    #: until when the read that uses the connection may go on
    limit: TimeLimit | None = None

    def wait(self, gen: PQGen[RV], interval: float = LIMIT_CHECK_SECONDS, *rest: Any, **options: Any) -> RV:
        """Let psycopg wait for the server: https://www.psycopg.org/psycopg3/docs/api/connections.html.

        Args:
            rest, options: what some versions of it also take.
        """
        return super().wait(self._guard(gen), min(interval, LIMIT_CHECK_SECONDS), *rest, **options)

    def _guard(self, gen: PQGen[RV]) -> PQGen[RV]:
        """Do what another generator does, and look at the limits each time the server has said something or nothing."""
        watch = StatementWatch(self)
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                watch.look()
                wanted = gen.send(ready)
        except StopIteration as done:
            result: RV = done.value
            return result


class StatementWatch:
    """Watches over one statement, from its beginning."""

    def __init__(self, connection: GuardedConnection) -> None:
        self._connection = connection
        self._until = time.monotonic() + connection.max_statement_seconds
        self._is_cancelled = False

    def look(self) -> None:
        """Ask the server to end the statement if a limit is reached.

        Raises:
            psycopg.OperationalError: it has been silent for too long; the connection is closed.
        """
        connection = self._connection
        if not self._is_cancelled and connection.limit is not None and connection.limit.is_reached():
            self._is_cancelled = True
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCEL_GRACE_SECONDS)
            self._until = time.monotonic() + CANCEL_GRACE_SECONDS
        if time.monotonic() > self._until:
            connection.close()
            raise psycopg.OperationalError("the server has not answered in time")
