"""Every store keeps the contract: held runs, goals, background runs, and the history."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.agent import SessionMode
from gateway.domain.event import Usage
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.ports.run_store import Fenced
from gateway.domain.ports.store import Store
from gateway.domain.run import (
    AttemptResult,
    GoalRound,
    Mode,
    Move,
    OnInterrupt,
    Outcome,
    Run,
    RunFilter,
    Source,
    Status,
)
from gateway.errors import AgentBusy, Conflict, RunNotFound, Unavailable
from tests.contracts.stores import LIMITS, PAGE, Shelf, SteppedClock, claim_one, finish, spec

BUSY = SessionMode.QUEUE


async def held(store: Store, **fields: object) -> Run:
    return (await store.runs.accept(spec(held=True, **fields))).run  # type: ignore[arg-type]


# --- changing a run that waits ----------------------------------------------------------------


async def test_what_a_run_asks_can_be_changed_until_an_agent_has_seen_it(store: Store) -> None:
    run = (await store.runs.accept(spec(text="tow", labels={"a": "b"}))).run
    assert await store.runs.change_input(run.id, "two")

    claimed = await claim_one(store)

    assert claimed.spec == msgspec.structs.replace(run.spec, input="two")
    assert not await store.runs.change_input(run.id, "three")
    await store.runs.requeue(run.id, claimed.epoch, "the gateway stops")
    assert not await store.runs.change_input(run.id, "three"), "an agent may have seen it"
    assert (await store.runs.get(run.id)).spec.input == "two"


async def test_an_unknown_run_cannot_be_changed(store: Store) -> None:
    with pytest.raises(RunNotFound):
        await store.runs.change_input("none", "x")


# --- held -------------------------------------------------------------------------------------


async def test_a_held_run_is_not_claimed_until_it_is_released(store: Store) -> None:
    run = await held(store)
    assert run.status is Status.HELD
    assert await store.runs.claim("me", LIMITS) == []

    released = (await store.runs.release(run.id, BUSY)).run

    assert released.status is Status.QUEUED
    assert (await claim_one(store)).id == run.id


async def test_a_held_run_blocks_no_other_run(store: Store) -> None:
    await held(store)
    other = (await store.runs.accept(spec())).run

    assert (await claim_one(store)).id == other.id


async def test_only_a_held_run_is_released(store: Store) -> None:
    run = await held(store)
    await store.runs.release(run.id, BUSY)

    with pytest.raises(Conflict, match="cannot release a task that is queued"):
        await store.runs.release(run.id, BUSY)


async def test_the_same_key_releases_once(store: Store) -> None:
    run, key = await held(store), IdempotencyKey(scope="s", key="k", digest="d")
    await store.runs.release(run.id, BUSY, key)

    again = await store.runs.release(run.id, BUSY, key)

    assert (again.is_new, again.run.id) == (False, run.id)


async def test_a_run_is_not_released_into_a_busy_session_that_rejects(store: Store) -> None:
    run = await held(store)
    await store.runs.accept(spec())

    with pytest.raises(AgentBusy):
        await store.runs.release(run.id, SessionMode.REJECT)
    assert (await store.runs.get(run.id)).status is Status.HELD


async def test_a_held_run_is_cancelled_at_once(store: Store) -> None:
    assert (await store.runs.cancel((await held(store)).id)).status is Status.CANCELLED


async def test_held_runs_count_towards_the_queue_limit(shelf: Shelf) -> None:
    store = shelf.open(queue_limit=1)
    await held(store)

    with pytest.raises(Unavailable):
        await store.runs.accept(spec())


async def test_an_ephemeral_session_ends_with_its_run(store: Store) -> None:
    await store.runs.accept(spec(ephemeral=True))
    run = await claim_one(store)
    assert await store.sessions.find(run.spec.session) is not None

    await finish(store, run)

    assert await store.sessions.find(run.spec.session) is None
    assert (await store.runs.get(run.id)).status is Status.SUCCEEDED


async def test_an_ephemeral_session_survives_an_interrupted_attempt(store: Store) -> None:
    await store.runs.accept(spec(ephemeral=True))
    run = await claim_one(store)

    await store.runs.requeue(run.id, run.epoch, "why")

    assert await store.sessions.find(run.spec.session) is not None


# --- goals ------------------------------------------------------------------------------------


async def at_goal(store: Store, **fields: object) -> Run:
    await store.runs.accept(spec(text="clean up", mode=Mode.GOAL, max_rounds=3, **fields))  # type: ignore[arg-type]
    return await claim_one(store)


async def test_a_round_is_on_disk_when_it_ends(store: Store) -> None:
    run = await at_goal(store)

    await store.runs.end_round(
        run.id, run.epoch, GoalRound(number=1, reply="half", usage=Usage(input=5)), [Usage(input=5)]
    )

    kept = await store.runs.get(run.id)
    assert (kept.rounds, kept.usage, kept.status) == (1, Usage(input=5), Status.RUNNING)
    assert [message.content for message in await store.sessions.read_history(run.spec.session, 10)] == [
        run.spec.build_prompt(1),
        "half",
    ]
    assert (await store.events.read_after(run.id, 0, 10))[-1].data == Usage(input=5)


async def test_the_end_of_a_goal_adds_its_last_round(store: Store) -> None:
    run = await at_goal(store)
    await store.runs.end_round(run.id, run.epoch, GoalRound(number=1, reply="half", usage=Usage(input=5)), [])
    verdict = AttemptResult(
        move=Move.SUCCEED, outcome=Outcome.COMPLETED, result="whole", usage=Usage(input=2), rounds=2, done=True
    )

    ended = await store.runs.finish(run.id, run.epoch, verdict, [])

    assert (ended.rounds, ended.done, ended.usage) == (2, True, Usage(input=7))
    told = [message.content for message in await store.sessions.read_history(run.spec.session, 10)]
    assert told == [run.spec.build_prompt(1), "half", run.spec.build_prompt(2), "whole"]
    assert await store.runs.get(run.id) == ended


async def test_an_attempt_that_lost_its_run_ends_no_round(store: Store) -> None:
    run = await at_goal(store)
    await store.runs.requeue(run.id, run.epoch, "why")

    with pytest.raises(Fenced):
        await store.runs.end_round(run.id, run.epoch, GoalRound(number=1, reply="", usage=Usage()), [])


async def test_a_goal_that_is_not_retried_names_the_round_that_was_interrupted(store: Store) -> None:
    run = await at_goal(store, on_interrupt=OnInterrupt.FAIL)
    await store.runs.end_round(run.id, run.epoch, GoalRound(number=1, reply="half", usage=Usage()), [])

    ended = await store.runs.requeue(run.id, run.epoch, "why")

    assert (ended.status, ended.rounds, ended.done) == (Status.FAILED, 2, False)
    assert (await store.sessions.read_history(run.spec.session, 10))[-1].content == run.spec.build_prompt(2)


# --- background runs --------------------------------------------------------------------------

TWO = msgspec.structs.replace(LIMITS, background=2)


async def behind(store: Store, session: str, **fields: object) -> str:
    run = msgspec.structs.replace(spec(session, **fields), source=Source.BACKGROUND)
    return (await store.runs.accept(run)).run.id


async def test_background_runs_have_a_limit_over_all_agents(store: Store) -> None:
    runs = [await behind(store, f"{agent}:task:{n}") for n in range(2) for agent in ("main", "other")]

    assert [run.id for run in await store.runs.claim("me", TWO)] == runs[:2]
    assert await store.runs.claim("me", TWO) == []


async def test_the_end_of_a_background_run_lets_the_next_one_start(store: Store) -> None:
    runs = [await behind(store, f"main:task:{n}") for n in range(3)]
    first, _ = await store.runs.claim("me", TWO)
    await finish(store, first)

    assert [run.id for run in await store.runs.claim("me", TWO)] == runs[2:]


async def test_other_runs_do_not_wait_behind_background_runs(store: Store) -> None:
    for number in range(5):
        await behind(store, f"main:task:{number}", priority=5)
    other = (await store.runs.accept(spec("main:task:other"))).run

    assert other.id in [run.id for run in await store.runs.claim("me", TWO)]


async def test_an_agents_own_limit_holds_for_both_kinds_together(store: Store) -> None:
    await behind(store, "main:task:a")
    await store.runs.accept(spec("main:task:b"))
    await behind(store, "main:task:c", priority=1)
    limits = msgspec.structs.replace(TWO, agents={"main": 2})

    claimed = await store.runs.claim("me", limits)

    assert [run.spec.session for run in claimed] == ["main:task:c", "main:task:a"]


async def test_without_a_limit_background_runs_are_claimed_like_others(store: Store) -> None:
    for number in range(4):
        await behind(store, f"main:task:{number}")

    assert len(await store.runs.claim("me", LIMITS)) == 4


async def test_the_backlog_counts_background_runs_only(store: Store) -> None:
    for number in range(3):
        await behind(store, f"main:task:{number}")
    await store.runs.accept(spec())
    first, _ = await store.runs.claim("me", msgspec.structs.replace(TWO, total=2))
    await finish(store, first)

    backlog = await store.runs.count_backlog()

    assert (backlog.active, backlog.queued, backlog.total) == (1, 1, 3)


async def test_the_backlog_is_right_whatever_happens_to_its_runs(store: Store, clock: SteppedClock) -> None:
    for number in range(4):
        await behind(store, f"main:task:{number}")
    first, second = await store.runs.claim("me", msgspec.structs.replace(TWO, total=2))
    await store.runs.requeue(first.id, first.epoch, "why")
    await finish(store, second)
    await store.runs.cancel(first.id)
    clock.forward(1000)
    await store.runs.accept(spec())
    before = await store.runs.count_backlog()
    while (await store.retention.prune_runs(clock.now)).more:
        pass
    after = await store.runs.count_backlog()

    assert (before.active, before.queued, before.total) == (0, 2, 4)
    assert (after.active, after.queued, after.total) == (0, 2, 2)


# --- history ----------------------------------------------------------------------------------


async def ended(store: Store, clock: SteppedClock, label: str) -> str:
    run = (await store.runs.accept(spec(labels={label: "x"}))).run
    await store.runs.cancel(run.id)
    clock.forward(1)
    return run.id


async def test_a_history_starts_with_the_run_that_ended_last(store: Store, clock: SteppedClock) -> None:
    first, second = [await ended(store, clock, "origin") for _ in range(2)]
    await ended(store, clock, "another")
    await store.runs.accept(spec(labels={"origin": "x"}))

    assert await store.runs.list_finished_ids("origin", 10) == [second, first]
    assert await store.runs.list_finished_ids("origin", 1) == [second]


async def test_a_run_hidden_from_the_history_still_exists(store: Store, clock: SteppedClock) -> None:
    first = await ended(store, clock, "origin")

    assert await store.runs.hide_finished("origin") == 1

    later = await ended(store, clock, "origin")
    assert await store.runs.list_finished_ids("origin", 10) == [later]
    assert [run.id for run in await store.runs.list(RunFilter(label="origin"), PAGE)] == [later, first]
    assert await store.runs.hide_finished("origin") == 1
