"""The database on a PostgreSQL server, which several gateways and workers share.

All of them write under one lock, one transaction after the other, as the writers of a SQLite file do. So every rule of
the shared statements holds here without another thought: limits are counted while nobody else changes them, and the
numbers of the changes feed have no gap and become visible in their order.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from gateway.domain.budget import CalendarDays
from gateway.domain.event import Change
from gateway.domain.times import Clock, wall_clock
from gateway.errors import Unavailable
from gateway.store.postgres import opening
from gateway.store.postgres.commit_listener import COMMIT_CHANNEL, CommitListener
from gateway.store.postgres.connection import PostgresConnection
from gateway.store.postgres.dialect import POSTGRES
from gateway.store.postgres.failures import translate_error
from gateway.store.postgres.faults import describe_server, explained
from gateway.store.postgres.readers import PostgresReadConnection
from gateway.store.sql.database import HOUSEKEEPING_READ_TIMEOUT_SECONDS, Database
from gateway.store.sql.dialect import Dialect
from gateway.store.sql.transaction import Beginning, StoreLimits, Transaction

_TAKE_LOCK = f"SELECT pg_advisory_xact_lock({opening.LOCK_SPACE}, {opening.WRITE_LOCK})"
#: returns the time of the server in milliseconds, which is the same for all its users
_READ_TIME = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
#: also returns the number of the transaction, whether it can only read, and the number of the last change
_READ_BEGINNING = (
    f"{_READ_TIME}, pg_current_xact_id()::text, current_setting('transaction_read_only'),"
    f" coalesce(({POSTGRES.last_change}), 0)"
)
_TELL = f"SELECT pg_notify('{COMMIT_CHANNEL}', ? || ' ' || floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)"
#: says what became of a transaction. Only a primary knows it
_READ_COMMIT_STATUS = """
SELECT CASE WHEN pg_is_in_recovery() THEN 'in progress' ELSE pg_xact_status(?::xid8) END
"""
#: finds a line of the changes feed by all that it says
_FIND_CHANGE = """
SELECT 1 FROM changes WHERE seq = ? AND topic = ? AND ref = ? AND state = ? AND agent = ? AND session = ? AND at = ?
"""
#: seconds in which a server that was lost during a commit must tell whether it was made, and between two questions
COMMIT_DOUBT_SECONDS, COMMIT_DOUBT_PAUSE_SECONDS = 15.0, 0.2


class PostgresDatabase(Database):
    """`Database` on a server."""

    dialect: ClassVar[Dialect] = POSTGRES

    def __init__(
        self, url: str, clock: Clock | None, days: CalendarDays, limits: StoreLimits, *, host: str = "", owner: str = ""
    ) -> None:
        """Connect; create or migrate the schema as needed.

        Args:
            host: the name of this host in the fleet.
            owner: see `Database.owner`.
            clock: None for the clock of the server, which is the same for all its users.

        Raises:
            ConfigError: the server cannot be used.
            Unavailable: it cannot be reached.
        """
        self._url = url
        self._host = host
        self.owner = owner
        self._where = describe_server(url)
        self._given_clock = clock
        #: milliseconds by which the server's clock is ahead of this machine's
        self._ahead = 0
        opening.prepare_database(url, clock or wall_clock)
        #: the number of the transaction in progress, and how much the connection had written before it
        self._transaction_number, self._writes_before = "", 0
        #: what tells the own commits from those of others
        self._name = secrets.token_hex(8)
        self._connector = opening.Connector(url, opening.WRITE_TIMEOUT_SECONDS, host)
        with explained(url):
            self._writer = self._connect_writer()
        self._commits = CommitListener(url, self._name, self.tell_time)
        super().__init__(self._writer, self.tell_time, days, limits)

    def tell_time(self) -> int:
        """Return the time of the server, as far as it is known: in milliseconds since 1970 UTC."""
        return self._given_clock() if self._given_clock is not None else wall_clock() + self._ahead

    @property
    def clock_ahead(self) -> int:
        """Milliseconds by which the server's clock is ahead of this machine's."""
        return self._ahead

    @property
    def commit_lag(self) -> int | None:
        """Milliseconds after which the last commit of another process was heard; None if none was heard."""
        return self._commits.lag

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
        made = self._connector.connect()
        try:
            opening.share_use(made, self._where)
            self._learn_time(*made.execute(_READ_TIME).fetchall()[0])
            return PostgresConnection(made)
        except BaseException:
            made.close()
            raise

    def _reconnect_writer(self) -> None:
        self._writer.close()
        self._writer = self._connect_writer()
        self._connection = self._writer

    def _open_reader(self) -> PostgresReadConnection:
        return PostgresReadConnection(self._url, self._host, HOUSEKEEPING_READ_TIMEOUT_SECONDS)

    def _begin(self) -> Beginning:
        try:
            return self._begin_once()
        except (psycopg.OperationalError, psycopg.InternalError) as error:
            if not self._writer.psycopg.closed and not isinstance(error, errors.ReadOnlySqlTransaction):
                raise
        self._reconnect_writer()  # the server was restarted, or replaced by its replica
        return self._begin_once()

    def _begin_once(self) -> Beginning:
        self._writes_before = self._writer.count_writes()
        self._writer.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        self._writer.execute(_TAKE_LOCK)
        beginning = self._writer.execute(_READ_BEGINNING).fetchone()
        now, self._transaction_number, is_read_only, last_change = beginning
        if is_read_only == "on":
            raise errors.ReadOnlySqlTransaction("the transaction is read-only")
        return Beginning(self._learn_time(now), last_change)

    def _learn_time(self, now: int) -> int:
        """Learn from the server what time it is; return the time to use."""
        if self._given_clock is not None:
            return self._given_clock()
        self._ahead = now - wall_clock()
        return now

    def _commit(self, written: Transaction) -> None:
        if written.count_writes() != self._writes_before:
            self._writer.execute(_TELL, (self._name,))
        committed = self._writer.execute("COMMIT")
        try:
            self._writer.settle()
        except psycopg.OperationalError:
            if not self._writer.psycopg.closed or not self._was_committed(written.changes):
                raise
            return
        if committed.command_status != b"COMMIT":  # the server answers ROLLBACK if a statement had failed
            raise errors.InFailedSqlTransaction("a statement of the transaction had failed")

    def _was_committed(self, changes: Sequence[Change]) -> bool:
        """Ask whether a commit whose answer was lost was made.

        Raises:
            psycopg.OperationalError: the server does not answer in time.
        """
        deadline = time.monotonic() + COMMIT_DOUBT_SECONDS
        while True:
            with contextlib.suppress(psycopg.OperationalError, Unavailable):
                self._reconnect_writer()
                status = self._find_commit_status()
                if status != "in progress":
                    return status == "committed" and all(self._has_change(change) for change in changes[-1:])
            if time.monotonic() > deadline:
                raise psycopg.OperationalError(
                    "the server was lost during a commit and does not answer; whether the write was made is not known"
                )
            time.sleep(COMMIT_DOUBT_PAUSE_SECONDS)

    def _find_commit_status(self) -> Any:
        try:
            return self._writer.execute(_READ_COMMIT_STATUS, (self._transaction_number,)).get
        except errors.InvalidParameterValue:  # nobody has that number: a replica without the commit has taken over
            return None

    def _has_change(self, change: Change) -> bool:
        """Return whether a change is stored: a replica that has taken over gives out the same numbers once more."""
        values = (change.seq, change.topic, change.ref, change.state, change.agent, change.session, change.at)
        return self._writer.execute(_FIND_CHANGE, values).get is not None

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
        # each one would wait that long again
        return not isinstance(error, psycopg.OperationalError | errors.ReadOnlySqlTransaction)

    def _close_writer(self) -> None:
        self._commits.close()
        self._writer.close()

    def _translate_error(self, error: Exception) -> Exception:
        return translate_error(error, self._where)
