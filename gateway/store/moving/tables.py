"""The tables that are copied, as a SQLite store has them: PostgreSQL has the same, with the same columns."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any, NamedTuple

import apsw

from gateway.store.moving.mark import MARK_TABLE

#: tables that each store fills by itself
_OWN_TABLES = frozenset(("migrations", "respacing", MARK_TABLE))
#: the messages, which each store indexes in its own way
MESSAGES_TABLE = "transcript"
#: tables that have rows in an empty store
FILLED_TABLES = frozenset(("content_total",))


class Column(NamedTuple):
    name: str
    #: `INTEGER`, `TEXT` or `REAL`
    kind: str


class Table(NamedTuple):
    name: str
    columns: tuple[Column, ...]
    #: columns of the primary key; empty if it has none
    key: tuple[str, ...]

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def listed_columns(self) -> str:
        """The names of the columns, for a statement."""
        return list_names(self.column_names)

    @property
    def key_places(self) -> tuple[int, ...]:
        """Where in a row the values of the key are."""
        return tuple(self.column_names.index(name) for name in self.key)


def list_names(names: list[str] | tuple[str, ...]) -> str:
    """Return names of columns for a statement."""
    return ", ".join(f'"{name}"' for name in names)


def read_tables(connection: apsw.Connection) -> list[Table]:
    """Return the tables of a SQLite store, each after those that it refers to."""
    names = [
        str(name)
        for (name,) in connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' ORDER BY name"
        )
        if not name.startswith("sqlite_") and name not in _OWN_TABLES
    ]
    order = TopologicalSorter({name: _find_references(connection, name) for name in names}).static_order()
    return [_read_table(connection, name) for name in order]


def _find_references(connection: apsw.Connection, name: str) -> list[str]:
    rows = connection.execute('SELECT DISTINCT "table" FROM pragma_foreign_key_list(?) ORDER BY 1', (name,))
    return [str(other) for (other,) in rows]


def _read_table(connection: apsw.Connection, name: str) -> Table:
    rows: list[Any] = connection.execute(
        "SELECT name, type, pk FROM pragma_table_info(?) ORDER BY cid", (name,)
    ).fetchall()
    key = sorted((place, column) for column, _, place in rows if place)
    return Table(name, tuple(Column(column, kind) for column, kind, _ in rows), tuple(column for _, column in key))
