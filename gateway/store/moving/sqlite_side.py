"""A SQLite store as one of the two sides."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import apsw

from gateway.domain.times import Clock
from gateway.errors import StorageFull, Unavailable, Unreadable
from gateway.paths import display_path
from gateway.store.moving.side import Row, Side
from gateway.store.moving.tables import MESSAGES_TABLE, Table, list_names
from gateway.store.sql.transaction import Connection
from gateway.store.sqlite import opening


class SqliteSide(Side):
    """`Side` of a SQLite file."""

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self.shown = f"the database {display_path(path)}"
        self.remedy = f"Move {display_path(path)} and its -wal file away, or give another path."
        self.connection = cast("Connection", connection)
        self.apsw = connection
        self._path = path

    @classmethod
    def open_source(cls, path: Path) -> SqliteSide:
        """Open a database that is copied, as it is at this moment.

        Raises:
            ConfigError: there is none, or it cannot be used.
        """
        connection = opening.open_finished(path)
        connection.execute("BEGIN")
        return cls(path, connection)

    @classmethod
    def open_target(cls, path: Path, clock: Clock) -> SqliteSide:
        """Open the database in which the copy is made; create it if there is none.

        Raises:
            ConfigError: it cannot be used.
        """
        connection = opening.open_writer(path, clock, may_be_unfinished=True)
        connection.execute("PRAGMA foreign_keys = OFF")
        return cls(path, connection)

    @property
    def identity(self) -> str:
        created = self.apsw.execute("SELECT at FROM migrations WHERE number = 1").get
        return f"{self._path.resolve()}, made at {created}"

    def has_mark(self) -> bool:
        return opening.is_unfinished(self.apsw)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except apsw.FullError as error:
            raise StorageFull(
                f"the disk of {self._path.parent} is full.",
                remedy="Free some space, and run the command again: it goes on.",
            ) from error
        except (apsw.BusyError, apsw.IOError, apsw.CorruptError, apsw.ReadOnlyError, apsw.CantOpenError) as error:
            raise Unavailable(f"{self.shown} cannot be used: {error}.", remedy="Look at the disk.") from error

    def write_transaction(self) -> AbstractContextManager[object]:
        return self._write_in_transaction()

    @contextlib.contextmanager
    def _write_in_transaction(self) -> Iterator[None]:
        with self._explained(), opening.write_transaction(self.apsw):
            yield

    def read_rows(self, table: Table, after: Row | None = None) -> Iterator[Row]:
        statement = f'SELECT {table.listed_columns} FROM "{table.name}"'
        if after is not None:
            statement += f" WHERE ({list_names(table.key)}) > ({', '.join('?' * len(table.key))})"
        if table.key:
            statement += f" ORDER BY {list_names(table.key)}"
        last: Row | None = None
        with self._explained():
            try:
                for last in self.apsw.execute(statement, after):
                    yield last
            except UnicodeDecodeError as error:
                key = None if last is None else [last[place] for place in table.key_places]
                where = "the first row" if key is None else f"the row after {key}"
                raise Unreadable(
                    f"{where} of the table {table.name} has text that is not UTF-8: it cannot be copied.",
                    remedy="Start the gateway, and look at: gateway unreadable list",
                ) from error

    def insert_rows(self, table: Table, rows: Sequence[Row]) -> None:
        marks = ", ".join("?" * len(table.columns))
        # The only triggers that are wanted index the messages.
        self.apsw.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, table.name == MESSAGES_TABLE)
        self.apsw.executemany(f'INSERT INTO "{table.name}" ({table.listed_columns}) VALUES ({marks})', rows)

    def clear_tables(self, tables: Sequence[Table]) -> None:
        self.apsw.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)
        for table in reversed(tables):
            self.apsw.execute(f'DELETE FROM "{table.name}"')
        self.apsw.execute("INSERT INTO words (words) VALUES ('delete-all')")

    def end_inserting(self, tables: Sequence[Table]) -> None:
        """Do nothing: triggers are off on this connection only, and SQLite looks for the highest number itself."""

    def refresh_statistics(self, tables: Sequence[Table]) -> None:
        """Do nothing: this database has no statistics of values."""

    def close(self) -> None:
        self.apsw.close()
