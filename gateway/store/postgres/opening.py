"""Opening connections to PostgreSQL, and making or migrating the schema, with errors that say what to do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import conninfo, errors

from gateway.domain.times import Clock
from gateway.errors import AlreadyRunning, ConfigError, Unavailable
from gateway.store.moving.mark import MARK_TABLE, refuse_unfinished
from gateway.store.postgres import jobs
from gateway.store.postgres.faults import check_url, describe_server, explained, first_line
from gateway.store.postgres.guarded import GuardedConnection
from gateway.store.sql.migrations import Migration, read_package

#: the schema with all tables, in the database that the URL names
SCHEMA = "moongate"
#: the oldest version that has what the statements use
MIN_SERVER_VERSION = 14
#: first number of our advisory locks: "MOON" in ASCII. https://www.postgresql.org/docs/current/explicit-locking.html
LOCK_SPACE = 0x4D4F4F4E
#: second number of the locks that writers, migrations and the leader take
WRITE_LOCK, MIGRATION_LOCK, LEADER_LOCK = 1, 2, 3
#: second number of the lock that all users of the store share, and that a copy of the store has alone
USE_LOCK = 8
#: seconds that a copy waits for that lock: the server notices a moment later that a user has ended
MAX_USE_LOCK_WAIT_SECONDS, USE_LOCK_PAUSE_SECONDS = 5.0, 0.1
#: seconds in which a connection must be made, and after which a silent peer is given up
CONNECT_TIMEOUT_SECONDS, SILENCE_TIMEOUT_SECONDS = 5, 10
#: seconds that a transaction may do nothing: its writer was stopped or cut off, and all others wait for it
IDLE_TRANSACTION_SECONDS = 5
#: seconds that a writer waits for the others, and that one statement of it may take
WRITE_LOCK_TIMEOUT_SECONDS, WRITE_TIMEOUT_SECONDS = 15, 60
#: seconds that one statement of a migration may take, and that a migration waits for another one
MIGRATION_TIMEOUT_SECONDS, MIGRATION_LOCK_TIMEOUT_SECONDS = 600, 60
#: seconds after a failure to connect in which nobody tries again
CONNECT_RETRY_SECONDS = 0.5

#: how a connection notices that its peer is gone: https://www.postgresql.org/docs/current/libpq-connect.html
_CONNECTION_DEFAULTS = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "application_name": "moongate",
    "client_encoding": "UTF8",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENCE_TIMEOUT_SECONDS * 1000,
}

#: how the server notices that: else it keeps the connections of a host that is cut off for two hours.
#: https://www.postgresql.org/docs/current/runtime-config-connection.html
SERVER_KEEPALIVES = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;"
    f"SET tcp_user_timeout = {SILENCE_TIMEOUT_SECONDS * 1000}"
)


def read_migrations() -> list[Migration]:
    """Return all migrations in order."""
    return read_package("gateway.store.postgres.migrations")


def complete_url(url: str) -> str:
    """Return what connects to a database, with the settings that a URL leaves open."""
    settings: dict[str, Any] = {**_CONNECTION_DEFAULTS, **conninfo.conninfo_to_dict(url)}
    return conninfo.make_conninfo(**settings)


def connect(url: str, *, timeout_seconds: float, host: str = "") -> GuardedConnection:
    """Open a connection.

    Args:
        timeout_seconds: how long one statement may take; 0 for no limit.
        host: the name of this host in the fleet.

    Raises:
        psycopg.Error: it cannot be made.
    """
    connection = GuardedConnection.connect(complete_url(url), autocommit=True)
    if timeout_seconds:
        connection.max_statement_seconds = timeout_seconds + SILENCE_TIMEOUT_SECONDS
    try:
        connection.execute(
            f"SET search_path = {SCHEMA}; SET timezone = 'UTC';"
            f"SET statement_timeout = {_milliseconds(timeout_seconds)};"
            f"SET lock_timeout = {_milliseconds(WRITE_LOCK_TIMEOUT_SECONDS)};"
            f"SET idle_in_transaction_session_timeout = {_milliseconds(IDLE_TRANSACTION_SECONDS)}",
            prepare=False,
        )
        connection.execute(SERVER_KEEPALIVES, prepare=False)
        connection.execute("SELECT set_config('moongate.host', %s, false)", (host,))
    except BaseException:
        connection.close()
        raise
    return connection


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


class Connector:
    """Makes connections. After a failure the next tries fail at once for a moment: many callers may wait in line."""

    def __init__(self, url: str, timeout_seconds: float, host: str) -> None:
        self._url = url
        self._host = host
        self._timeout_seconds = timeout_seconds
        self._failure = ""
        self._next_try = 0.0

    def connect(self) -> GuardedConnection:
        """Open a connection.

        Raises:
            psycopg.OperationalError: it cannot be made, or could not a moment ago.
        """
        if time.monotonic() < self._next_try:
            raise psycopg.OperationalError(self._failure)
        try:
            return connect(self._url, timeout_seconds=self._timeout_seconds, host=self._host)
        except psycopg.Error as error:
            self._failure = str(error)
            self._next_try = time.monotonic() + CONNECT_RETRY_SECONDS
            raise


def prepare_database(url: str, clock: Clock, *, alone: bool = False) -> None:
    """Check the server, and make or migrate the schema.

    Args:
        alone: whether the caller has the store alone, for a copy that may be unfinished.

    Raises:
        ConfigError: the database cannot be used; the message says why and what to do.
        Unavailable: the server cannot be reached, or members of an older version use the database.
    """
    check_url(url)
    where = describe_server(url)
    with explained(url), contextlib.closing(connect(url, timeout_seconds=MIGRATION_TIMEOUT_SECONDS)) as connection:
        _check_server(connection, where)
        try:
            with _locked(connection):
                if not alone:
                    _require_no_mark(connection, where)
                    if _is_outdated(connection, where):
                        _keep_others_out(connection, where)
                _apply_migrations(connection, where, clock)
                jobs.apply_schema(connection)
        except errors.InsufficientPrivilege as error:
            raise ConfigError(
                f"the user of store.url may not make what Moongate needs in {where}: {first_line(error)}.",
                remedy=f"As an administrator of the database: CREATE SCHEMA {SCHEMA} AUTHORIZATION the_user; or, if the"
                f" schema is there: ALTER SCHEMA {SCHEMA} OWNER TO the_user;",
            ) from error


def check_server(url: str) -> None:
    """Check that a server answers and can be used. Changes nothing.

    Raises:
        ConfigError, Unavailable: it does not, or cannot; the message says why and what to do.
    """
    check_url(url)
    where = describe_server(url)
    with explained(url), contextlib.closing(connect(url, timeout_seconds=SILENCE_TIMEOUT_SECONDS)) as connection:
        _check_server(connection, where)
        _require_no_mark(connection, where)
        if _has_table(connection, "migrations"):
            _find_pending(connection, where)


def needs_migration(url: str) -> bool:
    """Return whether opening a store would change its schema; then no other process may use it.

    Raises:
        ConfigError, Unavailable: the server cannot be reached or used.
    """
    check_url(url)
    where = describe_server(url)
    with explained(url), contextlib.closing(connect(url, timeout_seconds=SILENCE_TIMEOUT_SECONDS)) as connection:
        return _is_outdated(connection, where)


def share_use(connection: psycopg.Connection[Any], where: str) -> None:
    """Keep the store from being copied or migrated as long as a connection lasts.

    Raises:
        ConfigError: it holds a copy of another store that is not finished.
        Unavailable: it is being copied or migrated, or it was migrated by another version.
    """
    if connection.execute("SELECT pg_try_advisory_lock_shared(%s, %s)", (LOCK_SPACE, USE_LOCK)).fetchone() != (True,):
        raise Unavailable(f"gateway migrate, or an upgrade, works on {where}.", remedy="Wait until it has ended.")
    _require_no_mark(connection, where)
    if _read_applied(connection) != _list_known():
        raise Unavailable(f"{where} was upgraded by another version of Moongate.", remedy="Upgrade this one.")


def open_alone(url: str) -> GuardedConnection:
    """Open a connection for a copy of the store: nobody else uses the store as long as it lasts.

    Raises:
        AlreadyRunning: a gateway or a worker uses it.
        ConfigError: the server cannot be reached or used.
    """
    where = describe_server(url)
    check_url(url)
    with explained(url):
        connection = connect(url, timeout_seconds=0)  # without a limit: a table may be large
        try:
            _check_server(connection, where)
            connection.execute("SET idle_in_transaction_session_timeout = 0")
            _take_use_lock(connection, where)
        except BaseException:
            connection.close()
            raise
    return connection


def _take_use_lock(connection: psycopg.Connection[Any], where: str) -> None:
    deadline = time.monotonic() + MAX_USE_LOCK_WAIT_SECONDS
    while connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_SPACE, USE_LOCK)).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise AlreadyRunning(
                f"a gateway, a worker or another copy uses {where}.", remedy="Stop it on each machine: gateway stop"
            )
        time.sleep(USE_LOCK_PAUSE_SECONDS)


def require_finished(connection: psycopg.Connection[Any], where: str) -> None:
    """Check that a database has a store with the newest schema, which is no unfinished copy.

    Raises:
        ConfigError: it has not.
    """
    _require_no_mark(connection, where)
    if not _has_table(connection, "migrations") or _read_applied(connection) != _list_known():
        raise ConfigError(
            f"{where} has no store with the schema of this Moongate.",
            remedy="Let this version open it first: gateway start, then gateway stop",
        )


def is_unfinished(connection: psycopg.Connection[Any]) -> bool:
    """Return whether a database holds a copy of another store that is not finished."""
    return _has_table(connection, MARK_TABLE)


def _require_no_mark(connection: psycopg.Connection[Any], where: str) -> None:
    if is_unfinished(connection):
        raise refuse_unfinished(
            where,
            "Unset store.url and run again: gateway migrate --to URL."
            f" Or delete the copy: DROP SCHEMA {SCHEMA} CASCADE;",
        )


def _has_table(connection: psycopg.Connection[Any], name: str) -> bool:
    return connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.{name}",)).fetchone() != (None,)


def _list_known() -> list[tuple[int, str]]:
    """Return the numbers and checksums of the migrations that this version knows."""
    return [(migration.number, migration.checksum) for migration in read_migrations()]


def _read_applied(connection: psycopg.Connection[Any]) -> list[tuple[int, str]]:
    """Return the numbers and checksums of the migrations that a database has."""
    return connection.execute("SELECT number, checksum FROM migrations ORDER BY number").fetchall()


def _check_server(connection: psycopg.Connection[Any], where: str) -> None:
    version = connection.info.server_version // 10000
    if version < MIN_SERVER_VERSION:
        raise ConfigError(
            f"{where} is PostgreSQL {version}, which is too old.",
            remedy=f"Use PostgreSQL {MIN_SERVER_VERSION} or newer.",
        )
    row = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only'),"
        " current_setting('server_encoding')"
    ).fetchone()
    assert row is not None
    is_replica, read_only, encoding = row
    if is_replica:
        raise ConfigError(
            f"{where} is a replica, which cannot be written to.",
            remedy="Name the primary in store.url, or all servers and target_session_attrs=read-write.",
        )
    if read_only == "on":
        raise ConfigError(
            f"{where} is read-only: default_transaction_read_only is on.", remedy="Turn it off for this user."
        )
    if encoding != "UTF8":
        raise ConfigError(
            f"{where} has the encoding {encoding}.",
            remedy="Create another one: createdb --encoding=UTF8 --template=template0",
        )


@contextlib.contextmanager
def _locked(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Keep other processes from migrating; wait for one that does."""
    connection.execute(f"SET lock_timeout = {_milliseconds(MIGRATION_LOCK_TIMEOUT_SECONDS)}")
    connection.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_SPACE, MIGRATION_LOCK))
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.Error):  # closing the connection releases it, too
            connection.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_SPACE, MIGRATION_LOCK))


def _is_outdated(connection: psycopg.Connection[Any], where: str) -> bool:
    """Return whether there is a store, made by an older version."""
    if not _has_table(connection, "migrations") or not _read_applied(connection):
        return False
    return bool(_find_pending(connection, where)) or bool(jobs.list_pending(connection))


def _keep_others_out(connection: psycopg.Connection[Any], where: str) -> None:
    """Take the store for this connection alone: older members may not write to a newer schema."""
    try:
        _take_use_lock(connection, where)
    except AlreadyRunning as error:
        raise Unavailable(
            f"{where} has to be upgraded for this version of Moongate, and other members use it.",
            remedy="Stop them on each machine: gateway stop. Then this one goes on.",
        ) from error


def _apply_migrations(connection: psycopg.Connection[Any], where: str, clock: Clock) -> None:
    if connection.execute("SELECT to_regnamespace(%s)", (SCHEMA,)).fetchone() == (None,):
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
    if not _has_table(connection, "migrations"):
        connection.execute(
            "CREATE TABLE migrations (number bigint PRIMARY KEY, checksum text NOT NULL, at bigint NOT NULL)"
        )
    for migration in _find_pending(connection, where):
        with connection.transaction():
            connection.execute(migration.sql, prepare=False)
            connection.execute(
                "INSERT INTO migrations (number, checksum, at) VALUES (%s, %s, %s)",
                (migration.number, migration.checksum, clock()),
            )


def _find_pending(connection: psycopg.Connection[Any], where: str) -> list[Migration]:
    """Return the migrations that a database does not have yet.

    Raises:
        ConfigError: it has others.
    """
    known = read_migrations()
    applied = _read_applied(connection)
    if len(applied) > len(known):
        raise ConfigError(
            f"{where} has schema {len(applied)}, newer than this Moongate's {len(known)}.", remedy="Upgrade Moongate."
        )
    for migration, found in zip(known, applied, strict=False):
        if (migration.number, migration.checksum) != found:
            raise ConfigError(
                f"{where} was made with another {migration.name}.",
                remedy="Use the Moongate that made it, or restore a backup.",
            )
    return known[len(applied) :]
