"""The database in one SQLite file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import ClassVar, cast

import apsw
import msgspec

from gateway.domain.budget import CalendarDays
from gateway.domain.times import Clock
from gateway.errors import StorageFull, Unavailable, Unreadable
from gateway.store.sql.database import Database
from gateway.store.sql.dialect import Dialect
from gateway.store.sql.transaction import Beginning, Connection, StoreLimits, Transaction
from gateway.store.sqlite import opening
from gateway.store.sqlite.database_files import DatabaseFiles
from gateway.store.sqlite.dialect import SQLITE
from gateway.store.sqlite.readers import SqliteReadConnection


class SqliteDatabase(Database):
    """`Database` in one file."""

    dialect: ClassVar[Dialect] = SQLITE

    def __init__(self, path: Path, clock: Clock, days: CalendarDays, limits: StoreLimits) -> None:
        """Open the file; create or migrate it as needed.

        Raises:
            ConfigError: it cannot be used.
        """
        self._path = path
        self._writer = opening.open_writer(path, clock)
        self._files = DatabaseFiles(path, self._writer)
        super().__init__(cast("Connection", self._writer), clock, days, limits)

    async def count_external_commits(self) -> int:
        """Return a number that changes when another process has committed.

        The writer's connection is asked, because it does not count its own commits:
        https://www.sqlite.org/pragma.html#pragma_data_version.
        """
        return await self.write(lambda _: int(self._writer.pragma("data_version")))

    def _open_reader(self) -> SqliteReadConnection:
        return SqliteReadConnection(self._path)

    def _begin(self) -> Beginning:
        beginning = Beginning(self._clock())
        self._files.check_files()
        self._writer.execute("BEGIN IMMEDIATE")
        return beginning

    def _commit(self, _: Transaction) -> None:
        self._writer.execute("COMMIT")
        self._files.check_files()

    def _roll_back(self) -> None:
        # After some errors SQLite has already rolled back. If this fails, the next BEGIN raises.
        with contextlib.suppress(apsw.Error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")

    def _may_continue(self) -> bool:
        return self._writer.in_transaction

    def _is_worth_retrying(self, error: Exception) -> bool:
        return not isinstance(error, apsw.BusyError)  # each one would wait that long again

    def _close_writer(self) -> None:
        self._writer.close()  # this moves the write-ahead log into the database

    def _translate_error(self, error: Exception) -> Exception:
        path = self._path
        if opening.is_disk_full(error):
            return StorageFull(f"the disk of {path.parent} is full: nothing was accepted.", remedy="Free some space.")
        if isinstance(error, UnicodeDecodeError):
            return Unreadable(
                f"a row in the database {path} cannot be read: it has text that is not UTF-8.",
                remedy="If this goes on, stop the gateway, move the file away with its -wal, restore a copy.",
            )
        if isinstance(error, _DAMAGED_FILE) and not isinstance(
            error, UnicodeEncodeError
        ):  # that one is the caller's mistake
            return Unavailable(
                f"the database {path} is damaged: {error}.",
                remedy="Stop the gateway, move the file away with its -wal, restore a copy.",
            )
        if isinstance(error, apsw.Error) and not isinstance(error, _NOT_TRANSLATED):
            return Unavailable(
                f"the database {path} cannot be used: {error}.", remedy="Look at the disk and its mount."
            )
        return error


#: errors of SQLite that mean a bug of ours: they are not translated, so that they are noticed. The last one ends a read
#: that has reached its limit
_NOT_TRANSLATED = (
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MisuseError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.InterruptError,
)
#: errors that mean that the file does not hold what we wrote
_DAMAGED_FILE = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, msgspec.DecodeError, ValueError)
