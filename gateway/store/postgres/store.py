"""The store on a PostgreSQL server."""

from __future__ import annotations

from gateway.domain.budget import CalendarDays
from gateway.domain.file import DEFAULT_FILE_QUOTA_BYTES
from gateway.domain.times import Clock
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.sql.store import SqlStore
from gateway.store.sql.transaction import StoreLimits


class PostgresStore(SqlStore):
    """`Store` on a PostgreSQL server. Create it inside a running event loop; close it there."""

    def __init__(
        self,
        url: str,
        *,
        queue_limit: int = 100_000,
        file_quota: int = DEFAULT_FILE_QUOTA_BYTES,
        days: CalendarDays | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Connect to the server; create or migrate the schema as needed.

        Args:
            url: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
            queue_limit: runs that may be queued or held.
            file_quota: bytes that all files may have together.
            days: the calendar days by which usage is counted; by default those of UTC.
            clock: by default that of the server.

        Raises:
            ConfigError: the server cannot be used.
        """
        limits = StoreLimits(queue_limit, file_quota)
        super().__init__(PostgresDatabase(url, clock, days or CalendarDays(), limits))
