"""The store of a gateway in a process of its own: which one the gateway is told to use, and what is in it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import apsw

#: seconds that a query of a test may take
QUERY_TIMEOUT_SECONDS = 60.0


class LiveStore(Protocol):
    """Where a gateway keeps everything."""

    @property
    def env(self) -> Mapping[str, str]:
        """The variables that tell a gateway to use it."""
        ...

    def rows(self, data: Path, query: str) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a query, in SQLite's dialect, on a store that no gateway has open.

        Args:
            data: the gateway's data directory.
        """
        ...

    def check(self, data: Path) -> None:
        """Check that nothing in it is damaged."""
        ...


class LiveSqlite:
    """A SQLite file in the data directory."""

    env: Mapping[str, str] = {}

    def rows(self, data: Path, query: str) -> Sequence[tuple[Any, ...]]:
        connection = apsw.Connection(str(data / "moongate.db"), flags=apsw.SQLITE_OPEN_READONLY)
        with contextlib.closing(connection):
            return list(connection.execute(query))

    def check(self, data: Path) -> None:
        damage = self.rows(data, "PRAGMA integrity_check")
        assert damage == [("ok",)], damage[:5]


class LivePostgres:
    """A database on a PostgreSQL server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.env: Mapping[str, str] = {"MOONGATE_STORE_URL": url}

    def rows(self, data: Path, query: str) -> Sequence[tuple[Any, ...]]:
        from gateway.store.postgres import opening
        from gateway.store.postgres.connection import PostgresConnection

        with contextlib.closing(opening.connect(self.url, timeout_seconds=QUERY_TIMEOUT_SECONDS)) as connection:
            return PostgresConnection(connection).execute(query).fetchall()

    def check(self, data: Path) -> None:
        """Check that there is no other place with data: the server checks its own files."""
        assert not (data / "moongate.db").exists()
