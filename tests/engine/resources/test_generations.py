"""Generations: each process that led records when it began, and why it ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.domain.generation import GenerationRecord
from gateway.engine.background import housekeeping
from gateway.engine.resources.generations import Generations
from gateway.errors import StorageFull
from harness.waiting import PATIENCE
from tests.contracts.stores import START, SteppedClock
from tests.engine.stage import Between, dead, me, open_store, staged

pytestmark = pytest.mark.both_stores


async def test_a_process_that_leads_records_itself_and_its_end(tmp_path: Path) -> None:
    clock = SteppedClock()
    store = open_store(tmp_path, clock=clock)
    generations = Generations(store, me())
    await generations.record_leading(3, started=START, ready=START + 5)
    (living,) = await generations.list_records(10)
    clock.forward(60)
    await generations.record_end(3, "a new generation leads")

    (ended,) = await generations.list_records(10)
    assert (living.owner, living.generation, living.started, living.ready) == (str(me()), 3, START, START + 5)
    assert (living.ended, living.reason) == (None, None)
    assert (ended.ended, ended.reason) == (START + 60, "a new generation leads")
    await store.close()


async def test_a_successor_closes_the_record_of_a_process_that_crashed_and_of_no_other(tmp_path: Path) -> None:
    clock = SteppedClock()
    store = open_store(tmp_path, clock=clock)
    for owner in (dead(), me()._replace(instance="draining")):
        await store.generations.add(
            GenerationRecord(owner=str(owner), generation=1, version="1", started=START, ready=START)
        )
    clock.forward(60)
    await Generations(store, me()).record_leading(2, started=START, ready=START)

    found = {one.owner: (one.ended, one.reason) for one in await store.generations.list(10)}
    assert found == {
        str(dead()): (START + 60, "crashed"),
        str(me()._replace(instance="draining")): (None, None),
        str(me()): (None, None),
    }
    await store.close()


async def test_a_record_whose_owner_cannot_be_read_is_closed_and_not_shown(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.generations.add(
        GenerationRecord(owner="of a newer version", generation=1, version="9", started=0, ready=0)
    )
    generations = Generations(store, me())
    await generations.record_leading(2, started=0, ready=0)

    assert [one.generation for one in await store.generations.list_open()] == [2]
    assert [one.generation for one in await generations.list_records(10)] == [2]
    await store.close()


async def test_a_process_that_crashes_after_it_was_succeeded_is_closed_by_housekeeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "HOUSEKEEPING_INTERVAL_SECONDS", 0.02)
    async with staged(tmp_path) as stage:
        await stage.store.generations.add(
            GenerationRecord(owner=str(dead()), generation=1, version="1", started=START, ready=START)
        )
        async with asyncio.timeout(PATIENCE):
            while (await stage.engine.generations.list_records(1))[0].reason != "crashed":
                await asyncio.sleep(0.005)


async def test_a_full_disk_keeps_no_process_from_ending(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    between = Between(store)
    between.refuse["generations.close"] = [StorageFull()]
    generations = Generations(between, me())  # type: ignore[arg-type]
    await generations.record_leading(1, started=0, ready=0)
    await generations.record_end(1, "the gateway stops")

    assert (await store.generations.list(1))[0].ended is None
    await store.close()


async def test_a_process_whose_disk_is_full_records_itself_when_it_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.engine.storage_retry.STORAGE_RETRY_SECONDS", 0.0)
    store = open_store(tmp_path)
    between = Between(store)
    between.refuse["generations.add"] = [StorageFull()]
    await Generations(between, me()).record_leading(1, started=0, ready=0)  # type: ignore[arg-type]

    assert len(await store.generations.list(10)) == 1
    await store.close()
