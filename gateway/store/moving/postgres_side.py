"""A PostgreSQL store as one of the two sides."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import psycopg
from psycopg import errors

from gateway.domain.times import Clock
from gateway.errors import StorageFull, Unavailable
from gateway.store.moving.server_connection import ServerConnection
from gateway.store.moving.side import Row, Side
from gateway.store.moving.tables import MESSAGES_TABLE, Table, list_names
from gateway.store.postgres import opening
from gateway.store.postgres.faults import describe_server, explained, first_line
from gateway.store.postgres.guarded import GuardedConnection
from gateway.store.postgres.words import make_vector

#: the types of PostgreSQL by those of SQLite
_SERVER_TYPES = {"INTEGER": "int8", "TEXT": "text", "REAL": "float8"}


class PostgresSide(Side):
    """`Side` of a database on a server."""

    def __init__(self, url: str, connection: GuardedConnection, host: str = "") -> None:
        """Args: host: the name of this host in the fleet, where the workspaces of copied sessions are."""
        self.shown = describe_server(url)
        self.remedy = f"Use an empty database, or delete what is there: DROP SCHEMA {opening.SCHEMA} CASCADE;"
        self.connection = ServerConnection(connection)
        self._psycopg = connection
        self._host = host
        connection.execute("SELECT set_config('moongate.host', %s, false)", (host,))

    @classmethod
    def open_source(cls, url: str) -> PostgresSide:
        """Open a database that is copied, as it is at this moment.

        Raises:
            AlreadyRunning: a gateway or a worker uses it.
            ConfigError: it cannot be used.
        """
        side = cls(url, opening.open_alone(url))
        with _closed_on_error(side), explained(url):
            opening.require_finished(side._psycopg, side.shown)
            side._psycopg.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return side

    @classmethod
    def open_target(cls, url: str, clock: Clock, host: str = "") -> PostgresSide:
        """Open the database in which the copy is made; make the tables if there are none.

        Raises:
            AlreadyRunning: a gateway or a worker uses it.
            ConfigError: it cannot be used.
        """
        side = cls(url, opening.open_alone(url), host)
        with _closed_on_error(side):
            opening.prepare_database(url, clock, alone=True)
        return side

    @property
    def identity(self) -> str:
        row = self._psycopg.execute("SELECT current_database(), at FROM migrations WHERE number = 1").fetchone()
        assert row is not None
        return f"PostgreSQL database {row[0]}, made at {row[1]}"

    def has_mark(self) -> bool:
        return opening.is_unfinished(self._psycopg)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except errors.DiskFull as error:
            raise StorageFull(
                f"the disk of {self.shown} is full.", remedy="Free some space, and run the command again: it goes on."
            ) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise Unavailable(
                f"{self.shown} cannot be used: {first_line(error)}.",
                remedy="Look at the server, and run the command again: it goes on.",
            ) from error

    def write_transaction(self) -> AbstractContextManager[object]:
        return self._write_in_transaction()

    @contextlib.contextmanager
    def _write_in_transaction(self) -> Iterator[None]:
        with self._explained(), self._psycopg.transaction():
            yield

    def read_rows(self, table: Table, after: Row | None = None) -> Iterator[Row]:
        statement = f'SELECT {table.listed_columns} FROM "{table.name}"'
        if after is not None:
            statement += f" WHERE ({list_names(table.key)}) > ({', '.join(['%s'] * len(table.key))})"
        if table.key:
            statement += f" ORDER BY {list_names(table.key)}"
        with self._explained(), self._psycopg.cursor().copy(f"COPY ({statement}) TO STDOUT".encode(), after) as copy:
            copy.set_types([_SERVER_TYPES[column.kind] for column in table.columns])
            yield from copy.rows()

    def insert_rows(self, table: Table, rows: Sequence[Row]) -> None:
        self._copy_in(f'COPY "{table.name}" ({table.listed_columns}) FROM STDIN', rows)
        if table.name == MESSAGES_TABLE:
            at = [table.column_names.index(name) for name in ("id", "content")]
            self._copy_in(
                "COPY words (message, terms) FROM STDIN", [(row[at[0]], make_vector(row[at[1]])) for row in rows]
            )

    def _copy_in(self, statement: str, rows: Sequence[Row]) -> None:
        with self._psycopg.cursor().copy(statement.encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def clear_tables(self, tables: Sequence[Table]) -> None:
        names = [table.name for table in tables]
        self._psycopg.execute(f"TRUNCATE {list_names(names)} CASCADE".encode())
        self._switch_triggers(tables, "DISABLE")

    def end_inserting(self, tables: Sequence[Table]) -> None:
        self._switch_triggers(tables, "ENABLE")
        self._psycopg.execute(
            "UPDATE sessions SET host = %s"
            " WHERE EXISTS (SELECT 1 FROM workspaces WHERE session = key AND released = 0)",
            (self._host,),
        )
        numbered = self._psycopg.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND is_identity = 'YES'"
        ).fetchall()
        for table, column in numbered:
            self._psycopg.execute(
                f"""SELECT setval(pg_get_serial_sequence(%s, %s), coalesce(max("{column}"), 0) + 1, false)
                FROM "{table}" """.encode(),
                (table, column),
            )

    def _switch_triggers(self, tables: Sequence[Table], how: str) -> None:
        for table in tables:
            self._psycopg.execute(f'ALTER TABLE "{table.name}" {how} TRIGGER USER'.encode())

    def refresh_statistics(self, tables: Sequence[Table]) -> None:
        names = [table.name for table in tables]
        with self._explained():
            self._psycopg.execute(f"ANALYZE {list_names([*names, 'words'])}".encode())

    def close(self) -> None:
        self._psycopg.close()


@contextlib.contextmanager
def _closed_on_error(side: PostgresSide) -> Iterator[None]:
    try:
        yield
    except BaseException:
        side.close()
        raise
