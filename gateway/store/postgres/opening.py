"""Opening connections to PostgreSQL, and making or migrating the schema, with errors that say what to do."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from importlib import resources
from typing import Any, NamedTuple

import psycopg
from psycopg import conninfo, errors

from gateway.domain.times import Clock
from gateway.errors import ConfigError
from gateway.store.postgres import jobs

#: the schema with all tables, in the database that the URL names
SCHEMA = "moongate"
#: the oldest version that has what the statements use
MIN_SERVER_VERSION = 14
#: first number of our advisory locks: "MOON" in ASCII. https://www.postgresql.org/docs/current/explicit-locking.html
LOCK_SPACE = 0x4D4F4F4E
#: second number of the locks that writers, migrations and the leader take
WRITE_LOCK, MIGRATION_LOCK, LEADER_LOCK = 1, 2, 3
#: seconds in which a connection must be made, and after which a silent peer is given up
CONNECT_TIMEOUT_SECONDS, SILENCE_TIMEOUT_SECONDS = 5, 10
#: seconds that a transaction may do nothing: its writer was stopped or cut off, and all others wait for it
IDLE_TRANSACTION_SECONDS = 5
#: seconds that a writer waits for the others, and that one statement of it may take
WRITE_LOCK_TIMEOUT_SECONDS, WRITE_TIMEOUT_SECONDS = 15, 60

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

_MIGRATIONS_TABLE = "CREATE TABLE migrations (number bigint PRIMARY KEY, checksum text NOT NULL, at bigint NOT NULL)"


class Migration(NamedTuple):
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations() -> list[Migration]:
    """Return all migrations in order."""
    folder = resources.files("gateway.store.postgres.migrations")
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(int(name[:4]), name, (folder / name).read_text("utf-8")) for name in found]


def describe_server(url: str) -> str:
    """Return which database a URL names, without its password."""
    try:
        found = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "the URL of the database"
    host, port = found.get("host") or found.get("hostaddr") or "localhost", found.get("port")
    return f"the database {found.get('dbname') or found.get('user') or ''!s} at {host}{f':{port}' if port else ''}"


def complete_url(url: str) -> str:
    """Return what connects to a database, with the settings that a URL leaves open."""
    settings: dict[str, Any] = {**_CONNECTION_DEFAULTS, **conninfo.conninfo_to_dict(url)}
    return conninfo.make_conninfo(**settings)


def connect(url: str, *, timeout_seconds: float, host: str = "") -> psycopg.Connection[Any]:
    """Open a connection.

    Args:
        timeout_seconds: how long one statement may take.
        host: the name of this host in the fleet.

    Raises:
        psycopg.Error: it cannot be made.
    """
    connection = psycopg.connect(complete_url(url), autocommit=True)
    try:
        connection.execute(
            f"SET search_path = {SCHEMA}; SET timezone = 'UTC';"
            f"SET statement_timeout = {round(timeout_seconds * 1000)};"
            f"SET lock_timeout = {WRITE_LOCK_TIMEOUT_SECONDS * 1000};"
            f"SET idle_in_transaction_session_timeout = {IDLE_TRANSACTION_SECONDS * 1000}",
            prepare=False,
        )
        connection.execute("SELECT set_config('moongate.host', %s, false)", (host,))
    except BaseException:
        connection.close()
        raise
    connection.prepared_max = None  # all statements are ours, and there are not many
    return connection


def prepare_database(url: str, clock: Clock) -> None:
    """Check the server, and make or migrate the schema.

    Raises:
        ConfigError: the server cannot be reached or used; the message says why and what to do.
    """
    where = describe_server(url)
    try:
        with contextlib.closing(connect(url, timeout_seconds=600)) as connection:
            _check_server(connection, where)
            with _locked(connection):
                _apply_migrations(connection, where, clock)
                jobs.apply_schema(connection)
    except errors.InsufficientPrivilege as error:
        raise ConfigError(
            f"the user of store.url may not make what Moongate needs in {where}: {first_line(error)}.",
            remedy=f"As an administrator of the database: CREATE SCHEMA {SCHEMA} AUTHORIZATION the_user;",
        ) from error
    except psycopg.Error as error:
        raise _explain_failure(error, where) from error


def check_server(url: str) -> None:
    """Check that a server answers and can be used. Changes nothing.

    Raises:
        ConfigError: it does not, or cannot; the message says why and what to do.
    """
    where = describe_server(url)
    try:
        with contextlib.closing(connect(url, timeout_seconds=SILENCE_TIMEOUT_SECONDS)) as connection:
            _check_server(connection, where)
    except psycopg.Error as error:
        raise _explain_failure(error, where) from error


def _explain_failure(error: psycopg.Error, where: str) -> ConfigError:
    text = first_line(error)
    if "password authentication failed" in text or "no password supplied" in text:
        return ConfigError(f"{where} does not accept the password: {text}.", remedy="Correct store.url.")
    if "does not exist" in text:
        return ConfigError(f"cannot use {where}: {text}.", remedy="Create it, for example: createdb moongate")
    if "certificate" in text or "SSL" in text:
        return ConfigError(
            f"cannot connect to {where} safely: {text}.", remedy="Correct sslmode and sslrootcert in store.url."
        )
    return ConfigError(f"cannot use {where}: {text}.", remedy="Start the server, or correct store.url.")


def first_line(error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0].removesuffix(".")


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
            remedy="Create it anew: createdb --encoding=UTF8 --template=template0",
        )


@contextlib.contextmanager
def _locked(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Keep other processes from migrating; wait for one that does."""
    connection.execute("SET lock_timeout = '60s'")
    connection.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_SPACE, MIGRATION_LOCK))
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.Error):  # closing the connection releases it, too
            connection.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_SPACE, MIGRATION_LOCK))


def _apply_migrations(connection: psycopg.Connection[Any], where: str, clock: Clock) -> None:
    if connection.execute("SELECT to_regnamespace(%s)", (SCHEMA,)).fetchone() == (None,):
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
    if connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.migrations",)).fetchone() == (None,):
        connection.execute(
            "CREATE TABLE migrations (number bigint PRIMARY KEY, checksum text NOT NULL, at bigint NOT NULL)"
        )
    known = read_migrations()
    applied: list[tuple[int, str]] = connection.execute(
        "SELECT number, checksum FROM migrations ORDER BY number"
    ).fetchall()
    if len(applied) > len(known):
        raise ConfigError(
            f"{where} has schema {len(applied)}, newer than this Moongate's {len(known)}.", remedy="Upgrade Moongate."
        )
    for migration, (_, checksum) in zip(known, applied, strict=False):
        if migration.checksum != checksum:
            raise ConfigError(
                f"{where} was made with another {migration.name}.",
                remedy="Use the Moongate that made it, or restore a backup.",
            )
    for migration in known[len(applied) :]:
        with connection.transaction():
            connection.execute(migration.sql, prepare=False)
            connection.execute(
                "INSERT INTO migrations (number, checksum, at) VALUES (%s, %s, %s)",
                (migration.number, migration.checksum, clock()),
            )
