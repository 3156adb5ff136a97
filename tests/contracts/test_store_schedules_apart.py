"""Every store keeps the contract: what happens to one schedule, or to one of its times, leaves the others alone."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.ports.store import Store
from gateway.domain.run import AttemptResult, Move, Outcome
from gateway.domain.schedule import MAX_LISTED_SKIPS, Overlap
from tests.contracts.stores import ALL, PAGE, START, claim_one, done, finish
from tests.contracts.test_store_schedules import MINUTE, firing, made, told_fires, work

FAILED = AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="no model")
#: the schedule between the others: a condition that selects too many ids finds those before it, or those after it
ONE = "m"
OTHERS = ("a", "z")


@pytest.fixture
async def store(store: Store) -> Store:
    """Return a store with three schedules, which are disabled by their second failure in a row."""
    for name in (ONE, *OTHERS):
        await store.schedules.create(made(name, max_failures=2))
    return store


async def run_once(store: Store, schedule: str, verdict: AttemptResult) -> None:
    await store.schedules.trigger(schedule, work(schedule, f"main:cron:{schedule}"))
    await finish(store, await claim_one(store), verdict)


async def test_the_others_stay_when_one_is_deleted(store: Store) -> None:
    await store.schedules.delete(ONE)

    assert sorted(schedule.id for schedule in await store.schedules.list(PAGE)) == list(OTHERS)


async def test_failures_count_only_for_their_own_schedule(store: Store) -> None:
    await run_once(store, ONE, FAILED)

    assert [(await store.schedules.get(name)).failures for name in (ONE, *OTHERS)] == [1, 0, 0]


async def test_a_success_resets_only_the_failures_of_its_own_schedule(store: Store) -> None:
    for name in (ONE, *OTHERS):
        await run_once(store, name, FAILED)
    await run_once(store, ONE, done())

    assert [(await store.schedules.get(name)).failures for name in (ONE, *OTHERS)] == [0, 1, 1]


async def test_the_others_stay_enabled_when_failures_disable_one(store: Store) -> None:
    before = [await store.schedules.get(name) for name in OTHERS]
    for _ in range(2):
        await run_once(store, ONE, FAILED)

    assert not (await store.schedules.get(ONE)).enabled
    assert [await store.schedules.get(name) for name in OTHERS] == before


async def test_the_last_run_of_one_is_not_that_of_the_others(store: Store) -> None:
    await store.schedules.fire(firing(await store.schedules.get(ONE), START + MINUTE))

    assert [(await store.schedules.get(name)).last_at for name in (ONE, *OTHERS)] == [START, None, None]
    assert [(await store.schedules.get(name)).last_run for name in OTHERS] == [None, None]


async def test_skipped_times_of_one_are_left_out_and_those_of_the_others_are_listed(store: Store) -> None:
    times = [START + number * 1000 for number in range(MAX_LISTED_SKIPS + 2)]
    for name in OTHERS:
        await store.schedules.fire(firing(await store.schedules.get(name), missed_times=tuple(times)))
    await store.schedules.fire(firing(await store.schedules.get(ONE), *times, times[-1] + 1000))

    assert [len(await told_fires(store, name)) for name in (ONE, *OTHERS)] == [len(times), len(times), len(times)]


async def test_each_time_names_its_own_run(store: Store) -> None:
    schedule = await store.schedules.create(made(overlap=Overlap.QUEUE))
    fired = await store.schedules.fire(firing(schedule, START + MINUTE, START + 2 * MINUTE))

    listed = [fire.run for fire in await store.schedules.list_fires("s", PAGE)]
    assert listed == [accepted.run.id for accepted in reversed(fired)]


async def test_a_plan_that_was_made_before_the_last_one_was_carried_out_does_nothing(store: Store) -> None:
    """Two processes plan the same times: the second plan counts no missed time again, and fires no other time."""
    early = await store.schedules.get(ONE)
    await store.schedules.fire(firing(early, START + MINUTE, missed_count=3))
    after = await store.schedules.get(ONE)

    assert await store.schedules.fire(firing(early, START + MINUTE + 1, missed_count=3)) == []
    assert await store.schedules.get(ONE) == after
    assert await told_fires(store, ONE) == [(MINUTE, "fired")]


async def test_a_plan_for_a_schedule_that_is_disabled_does_nothing(store: Store) -> None:
    disabled = await store.schedules.create(msgspec.structs.replace(made("off"), enabled=False))

    assert await store.schedules.fire(firing(disabled, START + MINUTE)) == []
    assert (await store.schedules.get("off"), await store.runs.list(ALL, PAGE)) == (disabled, [])
