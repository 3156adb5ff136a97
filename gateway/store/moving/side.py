"""A store that is copied, or that the copy is made in. Nobody else uses it meanwhile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from gateway.store.moving import mark
from gateway.store.moving.mark import Mark
from gateway.store.moving.tables import FILLED_TABLES, Table
from gateway.store.sql.transaction import Connection

#: the values of a row, in the order of the columns
Row = Sequence[Any]


class Side(ABC):
    """One of the two stores. Each works on one connection."""

    #: the name of the store for people
    shown: str
    #: what to do if there are rows in it that do not belong there
    remedy: str
    connection: Connection

    @property
    @abstractmethod
    def identity(self) -> str:
        """Tells this store from others."""

    @abstractmethod
    def has_mark(self) -> bool:
        """Return whether a copy that is not finished is in the store."""

    @abstractmethod
    def write_transaction(self) -> AbstractContextManager[object]:
        """Commit what is written inside, or nothing of it."""

    @abstractmethod
    def read_rows(self, table: Table, after: Row | None = None) -> Iterator[Row]:
        """Yield the rows of a table in the order of its key.

        Args:
            after: the key of the row before the first one.
        """

    @abstractmethod
    def insert_rows(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows as they are, and index those that are messages."""

    @abstractmethod
    def clear_tables(self, tables: Sequence[Table]) -> None:
        """Delete all rows, and keep triggers from changing what is inserted from now on."""

    @abstractmethod
    def end_inserting(self, tables: Sequence[Table]) -> None:
        """Turn the triggers on, and let new rows get numbers after those that are there."""

    @abstractmethod
    def refresh_statistics(self, tables: Sequence[Table]) -> None:
        """Let the database look at what it has now, so that it plans well."""

    @abstractmethod
    def close(self) -> None: ...

    def read_mark(self) -> Mark | None:
        return mark.read_mark(self.connection) if self.has_mark() else None

    def read_state(self) -> str:
        """Return what changes with the work of a gateway: each one that leads is written down, as is what it does."""
        row = self.connection.execute(
            "SELECT (SELECT max(seq) FROM changes), (SELECT max(seq) FROM generations)"
        ).fetchone()
        return " ".join(str(number) for number in row)

    def count_rows(self, table: Table) -> int:
        counted: int = self.connection.execute(f'SELECT count(*) FROM "{table.name}"').get
        return counted

    def is_empty(self, tables: Sequence[Table]) -> bool:
        return not any(
            self.connection.execute(f'SELECT 1 FROM "{table.name}" LIMIT 1').fetchone()
            for table in tables
            if table.name not in FILLED_TABLES
        )
