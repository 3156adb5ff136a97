"""A connection to PostgreSQL for copies: through psycopg's cursors, which can also COPY."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.string import StrDumper

from gateway.store.postgres.statements import translate
from gateway.store.postgres.values import decode_text, encode_text


class _TextDumper(StrDumper):
    def dump(self, obj: str) -> Buffer | None:
        return encode_text(obj)


class _TextLoader(Loader):
    def load(self, data: Buffer) -> str:
        return decode_text(bytes(data))


class _CursorRows:
    """The rows of a statement, which are in memory."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def __next__(self) -> Any:
        return next(self._rows)

    @property
    def get(self) -> Any:
        """The value of a first row with one column; the first row if it has several; None if there is no row."""
        row = self.fetchone()
        return row if row is None or len(row) > 1 else row[0]

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def close(self, force: bool = False, /) -> None: ...


class ServerConnection:
    """`Connection` for the few statements of a copy; it reads and sends texts as the store does."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        connection.adapters.register_dumper(str, _TextDumper)
        connection.adapters.register_loader("text", _TextLoader)
        self._psycopg = connection
        self._last_changes = self._changes = 0

    def execute(self, statement: str, bindings: Any = None, /) -> _CursorRows:
        translated = translate(statement)
        cursor = psycopg.RawCursor(self._psycopg)
        cursor.execute(translated.text.encode(), bindings or None)
        self._last_changes = max(cursor.rowcount, 0)
        self._changes += self._last_changes
        return _CursorRows(cursor.fetchall() if cursor.description is not None else [])

    def executemany(self, statement: str, bindings: Iterable[Any], /) -> None:
        for values in bindings:
            self.execute(statement, values)

    def changes(self) -> int:
        return self._last_changes

    def total_changes(self) -> int:
        return self._changes
