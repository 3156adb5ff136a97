"""Fixtures of the SQLite store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import SteppedClock, clock, unhurried_pieces

__all__ = ["clock", "unhurried_pieces"]


@pytest.fixture
async def store(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "moongate.db", clock=clock)
    yield opened
    await opened.close()
