"""The mark in a store that is still being copied: while it is there, no gateway serves the store.

It is a table, which is gone as soon as the copy is whole. It remembers what is copied, and how far the copy has got.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.store.sql.transaction import Connection

MARK_TABLE = "unfinished_copy"

#: the names of its rows that belong to no table of the store
_SOURCE, _STATE = " source", " state"
#: the position in a table of which every row is copied
_DONE = "done"


class Mark(NamedTuple):
    """What is being copied."""

    #: which store it is
    source: str
    #: what changes there with what a gateway writes; empty if the copy has to begin again
    state: str


def refuse_unfinished(where: str, remedy: str) -> ConfigError:
    """Return the error of opening a store that is still being copied."""
    return ConfigError(f"{where} holds a copy of another store that is not finished.", remedy=remedy)


def create_mark(connection: Connection, mark: Mark) -> None:
    connection.execute(f"CREATE TABLE {MARK_TABLE} (name text PRIMARY KEY, value text NOT NULL)")
    _write_entry(connection, _SOURCE, mark.source)
    _write_entry(connection, _STATE, mark.state)


def read_mark(connection: Connection) -> Mark:
    """Return the mark of a store that has one."""
    return Mark(_read_entry(connection, _SOURCE) or "", _read_entry(connection, _STATE) or "")


def require_new_copy(connection: Connection) -> None:
    """Let the next try begin again."""
    _write_entry(connection, _STATE, "")


def remove_mark(connection: Connection) -> None:
    connection.execute(f"DROP TABLE IF EXISTS {MARK_TABLE}")


class Position(NamedTuple):
    """How far a table is copied."""

    #: the key of the last row that is; None if none is
    last: Sequence[Any] | None
    is_done: bool


def read_position(connection: Connection, table: str) -> Position:
    found = _read_entry(connection, table)
    if found is None or found == _DONE:
        return Position(None, found == _DONE)
    return Position(msgspec.json.decode(found), False)


def write_position(connection: Connection, table: str, last: Sequence[Any] | None) -> None:
    """Remember the key of the last row that is copied; None if every row is."""
    _write_entry(connection, table, _DONE if last is None else msgspec.json.encode(last).decode())


def _read_entry(connection: Connection, name: str) -> str | None:
    found: str | None = connection.execute(f"SELECT value FROM {MARK_TABLE} WHERE name = ?", (name,)).get
    return found


def _write_entry(connection: Connection, name: str, value: str) -> None:
    connection.execute(
        f"INSERT INTO {MARK_TABLE} (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
