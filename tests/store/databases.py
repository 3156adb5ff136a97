"""Databases for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.domain.budget import CalendarDays
from gateway.domain.times import wall_clock
from gateway.store.sql.transaction import StoreLimits
from gateway.store.sqlite.database import SqliteDatabase


@asynccontextmanager
async def open_database(directory: Path) -> AsyncIterator[SqliteDatabase]:
    """Open the database of a directory; create it if there is none."""
    database = SqliteDatabase(directory / "moongate.db", wall_clock, CalendarDays(), StoreLimits(100, 1_000_000))
    try:
        yield database
    finally:
        await database.close()
