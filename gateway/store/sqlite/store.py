"""The store in one SQLite file."""

from __future__ import annotations

from pathlib import Path

from gateway.domain.budget import CalendarDays
from gateway.domain.file import DEFAULT_FILE_QUOTA_BYTES
from gateway.domain.times import Clock, wall_clock
from gateway.store.sql.store import SqlStore
from gateway.store.sql.transaction import StoreLimits
from gateway.store.sqlite.database import SqliteDatabase


class SqliteStore(SqlStore):
    """`Store` in one SQLite file. Create it inside a running event loop; close it there."""

    def __init__(
        self,
        path: Path,
        *,
        queue_limit: int = 100_000,
        file_quota: int = DEFAULT_FILE_QUOTA_BYTES,
        days: CalendarDays | None = None,
        clock: Clock = wall_clock,
    ) -> None:
        """Open the database; create or migrate it as needed.

        Args:
            queue_limit: runs that may be queued or held.
            file_quota: bytes that all files may have together.
            days: the calendar days by which usage is counted; by default those of UTC.

        Raises:
            ConfigError: the file cannot be used.
        """
        super().__init__(SqliteDatabase(path, clock, days or CalendarDays(), StoreLimits(queue_limit, file_quota)))
