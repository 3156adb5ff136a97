"""The lock of the leader: one holds it, and one that does not look at it any more loses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.store.postgres import leader_lock
from gateway.store.postgres.leader_lock import PostgresLeaderLock
from harness.waiting import PATIENCE
from tests.engine.fleet.members import Fleet


@asynccontextmanager
async def open_locks(fleet: Fleet) -> AsyncIterator[tuple[PostgresLeaderLock, PostgresLeaderLock]]:
    """Open the locks of two members; the first one leads."""
    first, second = PostgresLeaderLock(fleet.url), PostgresLeaderLock(fleet.url)
    try:
        assert await first.try_acquire()
        yield first, second
    finally:
        await first.release()
        await second.release()


async def test_a_leader_that_looks_at_its_lock_keeps_it(fleet: Fleet) -> None:
    async with open_locks(fleet) as (first, second):
        assert not await second.try_acquire()
        assert await first.is_held()


async def test_the_lock_of_a_leader_that_is_stopped_or_cut_off_becomes_free(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader_lock, "LEADER_SILENCE_SECONDS", 0.0)
    async with open_locks(fleet) as (first, second):
        async with asyncio.timeout(PATIENCE):
            while not await second.try_acquire():
                pass
        assert not await first.is_held()
        monkeypatch.undo()
        assert not await first.try_acquire()
        assert await second.is_held()
