"""A connection to PostgreSQL that runs the shared statements, through psycopg: https://www.psycopg.org/psycopg3/docs/.

Numbers and texts mean here what they mean in SQLite. PostgreSQL's text has no character U+0000, so it is stored as
U+FDD0 and `0`, and U+FDD0, which is no character, as itself twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumperUnknown

from gateway.store.postgres.statements import translate

_ESCAPE = "\ufdd0"
_STORED_ESCAPE = re.compile(f"{_ESCAPE}([0{_ESCAPE}])")


def _escape(text: str) -> str:
    if "\0" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, _ESCAPE * 2).replace("\0", f"{_ESCAPE}0")


def _unescape(text: str) -> str:
    if _ESCAPE not in text:
        return text
    return _STORED_ESCAPE.sub(lambda found: "\0" if found[1] == "0" else _ESCAPE, text)


class _TextDumper(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(_escape(obj))


class _BytesDumper(Dumper):
    """Sends bytes as the text that they encode: no column has bytes."""

    def dump(self, obj: bytes) -> Buffer | None:
        return _escape(obj.decode()).encode()


class _BooleanDumper(Int8Dumper):
    def dump(self, obj: bool) -> Buffer | None:
        return b"1" if obj else b"0"


class _TextLoader(Loader):
    def load(self, data: Buffer) -> str:
        return _unescape(bytes(data).decode())


class _BytesLoader(Loader):
    """Reads the type `bpchar`, which no column has: a translated `CAST(… AS BLOB)`."""

    def load(self, data: Buffer) -> bytes:
        return _unescape(bytes(data).decode()).encode()


class _NumberLoader(Loader):
    """Reads what PostgreSQL makes of sums and averages."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return float(text) if "." in text or "N" in text else int(text)


def set_adapters(connection: psycopg.Connection[Any]) -> None:
    """Let a connection send and read values as SQLite does."""
    adapters = connection.adapters
    adapters.register_dumper(str, _TextDumper)
    adapters.register_dumper(bytes, _BytesDumper)
    adapters.register_dumper(int, Int8Dumper)
    adapters.register_dumper(bool, _BooleanDumper)
    adapters.register_loader("text", _TextLoader)
    adapters.register_loader("bpchar", _BytesLoader)
    adapters.register_loader("numeric", _NumberLoader)


class PostgresRows:
    """The rows of a statement."""

    def __init__(self, cursor: psycopg.RawCursor[Any]) -> None:
        self._cursor = cursor
        self._has_rows = cursor.description is not None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    @property
    def get(self) -> Any:
        """The value of a first row with one column; the first row if it has several; None if there is no row."""
        row = self.fetchone()
        return row if row is None or len(row) > 1 else row[0]

    def fetchone(self) -> Any:
        return self._cursor.fetchone() if self._has_rows else None

    def fetchall(self) -> list[Any]:
        return self._cursor.fetchall() if self._has_rows else []

    def close(self, force: bool = False, /) -> None:
        self._cursor.close()


class PostgresConnection:
    """`Connection` of the shared statements."""

    def __init__(self, psycopg_connection: psycopg.Connection[Any]) -> None:
        self.psycopg = psycopg_connection
        set_adapters(psycopg_connection)
        self._last: psycopg.RawCursor[Any] | None = None
        self._changes = 0

    def execute(self, statement: str, bindings: Any = None, /) -> PostgresRows:
        """Run a statement; its rows are in memory then."""
        translated = translate(statement)
        if translated.names:
            bindings = [bindings[name] for name in translated.names]
        cursor = psycopg.RawCursor(self.psycopg)
        cursor.execute(translated.text, bindings or None)
        self._count_changes(cursor)
        return PostgresRows(cursor)

    def executemany(self, statement: str, bindings: Iterable[Any], /) -> None:
        """Run a statement that returns no rows once for each set of bindings, in one round trip."""
        cursor = psycopg.RawCursor(self.psycopg)
        cursor.executemany(translate(statement).text, bindings)
        self._count_changes(cursor)

    def changes(self) -> int:
        """Return how many rows the last statement wrote."""
        return 0 if self._last is None else max(self._last.rowcount, 0)

    def total_changes(self) -> int:
        """Return how many rows were written since the connection was opened."""
        return self._changes

    def _count_changes(self, cursor: psycopg.RawCursor[Any]) -> None:
        self._last = cursor
        message = cursor.statusmessage
        if message is not None and not message.startswith("SELECT"):
            self._changes += max(cursor.rowcount, 0)
