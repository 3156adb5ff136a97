"""Samples: one a minute, of what a plot of the gateway needs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.domain.run import AttemptResult, Move, Outcome
from gateway.domain.sample import SAMPLE_LIFETIME_MILLISECONDS, Sample
from gateway.engine.background import sampler
from gateway.engine.background.sampler import Sampler
from gateway.errors import StorageFull
from gateway.store.sql.store import SqlStore
from harness.waiting import until
from tests.contracts.stores import LIMITS, START, SteppedClock, claim_one, done, finish, spec
from tests.engine.stage import Between, open_store, staged

pytestmark = pytest.mark.both_stores

MINUTE = 60_000


async def samples_of(store: SqlStore) -> list[Sample]:
    return list(await store.samples.list(0, START + SAMPLE_LIFETIME_MILLISECONDS, 1))


async def test_a_sample_has_what_there_is_and_what_has_ended_since_the_last_one(tmp_path: Path) -> None:
    clock = SteppedClock()
    store = open_store(tmp_path, clock=clock)
    lags = [0.25, 0.0]
    taker = Sampler(store, lambda: lags.pop(0), clock)
    for name in "abcd":
        await store.runs.accept(spec(f"main:test:{name}"))
    first_run, second_run, *_ = await store.runs.claim("owner", LIMITS)
    await finish(store, first_run, done())
    await finish(store, second_run, AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="no model"))
    await taker.take_sample()
    clock.forward(MINUTE)
    await taker.take_sample()

    first, second = await samples_of(store)
    assert (first.at, second.at) == (START, START + MINUTE)
    assert (first.ended, first.failed, second.ended, second.failed) == (2, 1, 0, 0)
    assert (first.running, first.queued) == (2, 0)
    assert (first.loop_lag_ms, second.loop_lag_ms) == (250, 0)
    assert first.accept_ms > 0
    assert first.memory_bytes > 1 << 20
    assert first.database_bytes > 4096
    assert first.cpu_percent > 0
    await store.close()


async def test_runs_that_ended_before_a_long_pause_are_counted_by_no_sample(tmp_path: Path) -> None:
    clock = SteppedClock()
    store = open_store(tmp_path, clock=clock)
    await store.runs.accept(spec())
    await finish(store, await claim_one(store), done())
    clock.forward(60 * MINUTE)
    await Sampler(store, lambda: 0.0, clock).take_sample()

    (sample,) = await samples_of(store)
    assert sample.ended == 0
    await store.close()


async def test_who_leads_takes_samples_and_a_minute_in_which_the_disk_refuses_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "SAMPLE_INTERVAL_SECONDS", 0.01)
    between = Between()
    between.refuse["samples.add"] = [StorageFull(), StorageFull()]

    async with staged(tmp_path, wrap=between.around) as stage:
        await until(lambda: between.calls.get("samples.add", 0) >= 4, "two samples were refused, one was not")
        await stage.engine.step_down()
        kept = await stage.store.samples.list(0, 1 << 50, 1)
        sampling = [task for task in asyncio.all_tasks() if task.get_name() == "sampler"]

    assert 1 <= len(kept) <= between.calls["samples.add"] - 2
    assert sampling == []


async def test_a_start_takes_no_sample(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.do()
        assert await stage.store.samples.list(0, 1 << 50, 1) == []
