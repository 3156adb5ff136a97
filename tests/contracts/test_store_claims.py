"""Every store keeps the contract: what a commit lets begin is claimed with it."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.domain.agent import SessionMode
from gateway.domain.budget import Budget
from gateway.domain.event import Usage
from gateway.domain.ports.store import Store
from gateway.domain.queue import RunLimits
from gateway.domain.run import Run, Source, Status
from tests.contracts.stores import LIMITS, SteppedClock, Told, claim_one, done, finish, spec

SHARED = RunLimits(total=1, agents={"main": 1, "other": 1})


async def accept(store: Store, session: str = "main:test:a", **fields: Any) -> Run:
    return (await store.runs.accept(msgspec.structs.replace(spec(session), **fields))).run


async def test_a_run_is_claimed_with_the_commit_that_accepts_it(store: Store) -> None:
    told = Told(store)
    store.claim_at_commit("owner", LIMITS)

    run = await accept(store)

    (commit,) = told.calls
    (claimed,) = commit.claimed
    assert claimed.run == await store.runs.get(run.id)
    assert (claimed.run.status, claimed.run.owner, claimed.run.attempt) == (Status.RUNNING, "owner", 1)
    assert [getattr(event.data, "status", None) for event in commit.events] == [Status.QUEUED, Status.RUNNING]
    assert not commit.is_claim_due


async def test_a_claimed_run_says_what_its_session_begins_with(store: Store) -> None:
    told = Told(store)
    store.claim_at_commit("owner", LIMITS)
    await accept(store)
    first = told.claimed[0]
    await store.runs.save_backend_ref(first.id, first.epoch, "scripted:ref")
    workspace = await store.workspaces.open("main:test:a", first.seq)

    await accept(store)
    await finish(store, first)

    starts = [claimed.session_start for commit in told.calls for claimed in commit.claimed]
    assert [(start.backend_ref, start.workspace) for start in starts if start is not None] == [
        (None, None),
        ("scripted:ref", workspace),
    ]


async def test_the_next_run_of_a_session_is_claimed_with_the_end_of_the_one_before(store: Store) -> None:
    told = Told(store)
    store.claim_at_commit("owner", LIMITS)
    await accept(store)
    second = await accept(store)
    assert len(told.claimed) == 1

    await finish(store, told.claimed[0])

    assert [run.id for run in told.claimed[1:]] == [second.id]
    assert [run.id for run in told.calls[-1].ended] == [told.claimed[0].id]


async def test_the_next_run_of_a_session_is_claimed_when_the_one_before_is_requeued_or_cancelled(store: Store) -> None:
    told = Told(store)
    await accept(store)
    first = await claim_one(store)
    second, third = await accept(store), await accept(store)
    store.claim_at_commit("owner", LIMITS)

    await store.runs.requeue(first.id, first.epoch, "why")
    assert [run.id for run in told.claimed[1:]] == [first.id]
    await store.runs.cancel(second.id)
    again = told.claimed[-1]
    await store.runs.finish(again.id, again.epoch, done(), ())

    assert [run.id for run in told.claimed[2:]] == [third.id]


async def test_runs_that_have_no_room_are_claimed_when_there_is_some(store: Store) -> None:
    told = Told(store)
    store.claim_at_commit("owner", RunLimits(total=9, agents={"main": 2}))
    runs = [await accept(store, f"main:test:{number}") for number in range(4)]
    assert [run.id for run in told.claimed] == [run.id for run in runs[:2]]

    for number in range(2):
        await finish(store, told.claimed[number])

    assert [run.id for run in told.claimed] == [run.id for run in runs]


async def test_a_run_of_another_agent_is_claimed_when_there_is_room_for_it(store: Store) -> None:
    told = Told(store)
    store.claim_at_commit("owner", SHARED)
    await accept(store, "main:test:a")
    waiting = await accept(store, "other:test:a")

    await finish(store, told.claimed[0])

    assert [run.id for run in told.claimed[1:]] == [waiting.id]


async def test_a_background_run_of_another_agent_is_claimed_when_there_is_room_for_it(store: Store) -> None:
    told = Told(store)
    store.claim_at_commit("owner", RunLimits(total=9, agents={"main": 5, "other": 5}, background=1))
    await accept(store, "main:test:a", source=Source.BACKGROUND)
    waiting = await accept(store, "other:test:a", agent="other", source=Source.BACKGROUND)
    assert len(told.claimed) == 1

    await finish(store, told.claimed[0])

    assert [run.id for run in told.claimed[1:]] == [waiting.id]


async def test_what_is_held_or_delayed_is_not_claimed(store: Store, clock: SteppedClock) -> None:
    told = Told(store)
    store.claim_at_commit("owner", LIMITS)

    held = await accept(store, "main:test:a", held=True)
    await accept(store, "main:test:b", run_at=clock.now + 1000)
    assert told.claimed == []

    await store.runs.release(held.id, SessionMode.QUEUE)
    assert [run.id for run in told.claimed] == [held.id]


async def test_a_budget_holds(store: Store) -> None:
    told = Told(store)
    store.claim_at_commit("owner", msgspec.structs.replace(LIMITS, budgets={"main": Budget(runs=1)}))
    await accept(store, "main:test:a")

    refused = await accept(store, "main:test:b")

    assert len(told.claimed) == 1
    assert (await store.runs.get(refused.id)).status is Status.FAILED
    assert [run.id for run in told.calls[-1].ended] == [refused.id]


async def test_a_run_that_waits_for_a_budget_is_claimed_when_the_run_before_it_has_ended(store: Store) -> None:
    told = Told(store)
    store.claim_at_commit("owner", LIMITS)
    labels = {"schedule": "s"}  # the schedule was given another agent in between
    await accept(store, "main:test:a", source=Source.CRON, labels=labels, budget=Budget(cost=9.0))
    waiting = await accept(store, "other:test:a", source=Source.CRON, labels=labels, budget=Budget(cost=9.0))
    assert len(told.claimed) == 1
    usage = Usage(input=9, output=9, cost=0.25)

    await finish(store, told.claimed[0], done(usage=usage), [usage])

    assert [run.id for run in told.claimed[1:]] == [waiting.id]


async def test_nothing_is_claimed_any_more_after_that_was_ended(store: Store) -> None:
    told = Told(store)
    store.claim_at_commit("owner", LIMITS)
    store.claim_at_commit("owner", None)
    await store.wait_for_writes()

    run = await accept(store)

    assert told.claimed == []
    assert (await store.runs.get(run.id)).status is Status.QUEUED
