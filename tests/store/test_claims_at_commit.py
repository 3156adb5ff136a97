"""A claim that a commit makes at its end never harms the writes of that commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.run import Status
from gateway.store.sql import sessions
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import LIMITS, Told, spec


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "moongate.db")
    yield opened
    await opened.close()


@pytest.mark.parametrize("count", [1, 5])
async def test_a_claim_that_breaks_fails_no_write_and_is_due(
    store: SqliteStore, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("the claim broke")

    told = Told(store)
    store.claim_at_commit("owner", LIMITS)
    monkeypatch.setattr(sessions, "select_start", break_down)

    accepted = await asyncio.gather(*(store.runs.accept(spec(f"main:test:{number}")) for number in range(count)))

    assert told.claimed == []
    assert all(commit.is_claim_due for commit in told.calls)
    assert [(await store.runs.get(one.run.id)).status for one in accepted] == [Status.QUEUED] * count
    assert sorted(event.run for event in told.events) == sorted(one.run.id for one in accepted)


async def test_what_a_failed_write_left_for_the_end_is_not_written(store: SqliteStore) -> None:
    told = Told(store)
    bad = spec("main:test:bad", "\ud800")  # it cannot be encoded

    results = await asyncio.gather(
        *(store.runs.accept(one) for one in (spec("main:test:1"), bad, spec("main:test:2"))), return_exceptions=True
    )

    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    counts = await store.runs.count_totals(0)
    assert (counts.queued, len(told.events), len(told.changes)) == (2, 2, 4)
