"""The database on a PostgreSQL server, which several gateways and workers share.

All of them write under one lock, one transaction after the other, as the writers of a SQLite file do. So every rule of
the shared statements holds here without another thought: limits are counted while nobody else changes them, and the
numbers of the changes feed have no gap and become visible in their order.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import ClassVar

import psycopg
from psycopg.pq import TransactionStatus

from gateway.domain.budget import CalendarDays
from gateway.domain.times import Clock, wall_clock
from gateway.store.postgres import opening
from gateway.store.postgres.commit_listener import COMMIT_CHANNEL, CommitListener
from gateway.store.postgres.connection import PostgresConnection
from gateway.store.postgres.dialect import POSTGRES
from gateway.store.postgres.failures import translate_error
from gateway.store.postgres.faults import describe_server
from gateway.store.postgres.readers import PostgresReadConnection
from gateway.store.sql.database import HOUSEKEEPING_READ_TIMEOUT_SECONDS, Database
from gateway.store.sql.dialect import Dialect
from gateway.store.sql.transaction import Beginning, StoreLimits, Transaction

_TAKE_LOCK = f"SELECT pg_advisory_xact_lock({opening.LOCK_SPACE}, {opening.WRITE_LOCK})"
#: returns the time of the server in milliseconds, which is the same for all its users, the number of the transaction,
#: and that of the last change
_READ_BEGINNING = (
    "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_current_xact_id()::text,"
    f" coalesce(({POSTGRES.last_change}), 0)"
)
_TELL = f"SELECT pg_notify('{COMMIT_CHANNEL}', pg_backend_pid()::text)"
#: seconds in which a server that was lost during a commit must tell whether it was made, and between two questions
COMMIT_DOUBT_SECONDS, COMMIT_DOUBT_PAUSE_SECONDS = 15.0, 0.2


class PostgresDatabase(Database):
    """`Database` on a server."""

    dialect: ClassVar[Dialect] = POSTGRES

    def __init__(
        self, url: str, clock: Clock | None, days: CalendarDays, limits: StoreLimits, *, host: str = ""
    ) -> None:
        """Connect; create or migrate the schema as needed.

        Args:
            host: the name of this host in the fleet.
            clock: None for the clock of the server, which is the same for all its users.

        Raises:
            ConfigError: the server cannot be used.
        """
        self._url = url
        self._host = host
        self._where = describe_server(url)
        self._given_clock = clock
        #: milliseconds by which the server's clock is ahead of this machine's
        self._ahead = 0
        opening.prepare_database(url, clock or wall_clock)
        #: the number of the transaction in progress, and how much the connection had written before it
        self._transaction_number, self._writes_before = "", 0
        self._commits = CommitListener(url)
        try:
            writer = self._connect_writer()
        except BaseException:
            self._commits.close()
            raise
        super().__init__(writer, self.tell_time, days, limits)

    def tell_time(self) -> int:
        """Return the time of the server, as far as it is known: in milliseconds since 1970 UTC."""
        return self._given_clock() if self._given_clock is not None else wall_clock() + self._ahead

    async def count_external_commits(self) -> int:
        return self._commits.count

    def call_after_external_commits(self, told: Callable[[], None]) -> None:
        """Call a function on the event loop after each commit of another process."""

        def tell_loop() -> None:
            self._loop.call_soon_threadsafe(told)

        self._commits.on_commit = tell_loop

    def set_concurrent_writer(self, present: bool) -> None:
        """Do nothing: the server's lock is fair, so that nobody starves."""

    def _connect_writer(self) -> PostgresConnection:
        made = opening.connect(self._url, timeout_seconds=opening.WRITE_TIMEOUT_SECONDS, host=self._host)
        try:
            opening.share_use(made, self._where)
        except BaseException:
            made.close()
            raise
        self._commits.own_writer = made.info.backend_pid
        self._writer = PostgresConnection(made)
        return self._writer

    def _reconnect_writer(self) -> None:
        self._writer.close()
        self._connection = self._connect_writer()

    def _open_reader(self) -> PostgresReadConnection:
        return PostgresReadConnection(self._url, self._host, HOUSEKEEPING_READ_TIMEOUT_SECONDS)

    def _begin(self) -> Beginning:
        try:
            return self._begin_once()
        except psycopg.OperationalError:
            if not self._writer.psycopg.closed:
                raise
        self._reconnect_writer()  # the server was restarted, or replaced by its replica
        return self._begin_once()

    def _begin_once(self) -> Beginning:
        self._writes_before = self._writer.count_writes()
        before = wall_clock()
        self._writer.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        self._writer.execute(_TAKE_LOCK)
        now, self._transaction_number, last_change = self._writer.execute(_READ_BEGINNING).fetchone()
        if self._given_clock is not None:
            return Beginning(self._given_clock(), last_change)
        self._ahead = now - (before + wall_clock()) // 2
        return Beginning(now, last_change)

    def _commit(self, written: Transaction) -> None:
        if written.count_writes() != self._writes_before:
            self._writer.execute(_TELL)
        self._writer.execute("COMMIT")
        try:
            self._writer.settle()
        except psycopg.OperationalError:
            if not self._writer.psycopg.closed or not self._was_committed():
                raise

    def _was_committed(self) -> bool:
        """Ask whether a commit whose answer was lost was made.

        Raises:
            psycopg.OperationalError: the server does not answer in time, or has been replaced by one that does not know
                the transaction.
        """
        deadline = time.monotonic() + COMMIT_DOUBT_SECONDS
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                self._reconnect_writer()
                state = self._writer.execute("SELECT pg_xact_status(?::xid8)", (self._transaction_number,)).get
                if state != "in progress":
                    return bool(state == "committed")
            if time.monotonic() > deadline:
                raise psycopg.OperationalError("the server was lost during a commit, and does not answer")
            time.sleep(COMMIT_DOUBT_PAUSE_SECONDS)

    def _roll_back(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._writer.settle()
        with contextlib.suppress(psycopg.Error):
            if self._writer.psycopg.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
                self._writer.execute("ROLLBACK")
                self._writer.settle()

    def _may_continue(self) -> bool:
        try:
            self._writer.settle()
        except psycopg.Error:
            return False
        return self._writer.psycopg.info.transaction_status is TransactionStatus.INTRANS

    def _is_worth_retrying(self, error: Exception) -> bool:
        return not isinstance(error, psycopg.OperationalError)  # each one would wait that long again

    def _close_writer(self) -> None:
        self._commits.close()
        self._writer.close()

    def _translate_error(self, error: Exception) -> Exception:
        return translate_error(error, self._where)
