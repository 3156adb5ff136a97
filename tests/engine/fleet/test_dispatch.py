"""Runs are dispatched by whichever member may, and begin where there is a free slot and the right agent."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator

from gateway.domain.event import Text
from gateway.domain.fleet import Role
from gateway.domain.ports.backend import Turn, TurnOutput
from gateway.domain.run import Outcome, Status
from harness.waiting import until
from tests.engine.fleet.members import Fleet
from tests.engine.stage import hanging


async def test_a_gateway_without_slots_has_its_runs_done_by_a_worker(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate, fleet.member("hand", role=Role.WORKER) as hand:
        ended = await gate.do("hello")

    assert (ended.status, ended.result) == (Status.SUCCEEDED, "echo: hello")
    assert [turn.input for turn in hand.backend.turns] == ["hello"]
    assert gate.backend.turns == []


async def test_what_waits_for_a_worker_begins_when_one_comes(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate:
        run = await gate.submit("hello")
        await asyncio.sleep(0)
        assert (await gate.store.runs.get(run.id)).status is Status.QUEUED
        async with fleet.member("hand", role=Role.WORKER):
            assert (await gate.ended(run)).outcome is Outcome.COMPLETED


async def test_a_worker_takes_only_the_runs_of_its_agents(fleet: Fleet) -> None:
    both = {"one": {}, "two": {}}
    async with (
        fleet.member("gate", slots=0, agents=both) as gate,
        fleet.member("first", role=Role.WORKER, agents={"one": {}}) as first,
        fleet.member("second", role=Role.WORKER, agents={"two": {}}) as second,
    ):
        for name in ("one", "two", "one"):
            await gate.do("hello", session=f"{name}:test:a")

    assert ([turn.agent.id for turn in first.backend.turns], [turn.agent.id for turn in second.backend.turns]) == (
        ["one", "one"],
        ["two"],
    )


async def test_the_limit_of_an_agent_counts_over_the_whole_fleet(fleet: Fleet) -> None:
    working: list[str] = []
    highest = 0

    async def work(turn: Turn) -> AsyncGenerator[TurnOutput, None]:
        nonlocal highest
        working.append(turn.input)
        highest = max(highest, len(working))
        await until(lambda: highest >= 2, "two work at the same time")
        await asyncio.sleep(0.01)
        working.remove(turn.input)
        yield Text(delta="done")

    agents = {"main": {"max_concurrent": 2}}
    async with (
        fleet.member("one", work, agents=agents) as one,
        fleet.member("two", work, agents=agents) as two,
    ):
        workers = "SELECT count(*) FROM procrastinate_workers"
        await until(lambda: fleet.execute(workers) == [(2,)], "both take jobs")
        runs = [await stage.submit(f"{n}", session=f"main:test:{n}") for n in range(12) for stage in (one, two)]
        ended = [await one.ended(run) for run in runs]

    assert {run.outcome for run in ended} == {Outcome.COMPLETED}
    assert highest == 2
    assert one.backend.turns
    assert two.backend.turns


async def test_the_runs_of_one_gateway_are_no_limit_for_the_fleet(fleet: Fleet) -> None:
    agents = {"main": {"max_concurrent": 10}}
    async with (
        fleet.member("gate", hanging, slots=2, max_runs=2, agents=agents) as gate,
        fleet.member("hand", hanging, slots=2, role=Role.WORKER, agents=agents),
    ):
        runs = [await gate.submit(f"{n}", session=f"main:test:{n}") for n in range(4)]
        for run in runs:
            await gate.said(run)


async def test_the_runs_of_a_session_follow_one_another_wherever_they_run(fleet: Fleet) -> None:
    async with fleet.member("one", slots=1) as one, fleet.member("two", slots=1) as two:
        runs = [await (one, two)[n % 2].submit(f"{n}") for n in range(8)]
        ended = [await one.ended(run) for run in runs]

    assert all(before.finished <= after.started for before, after in itertools.pairwise(ended))


async def test_a_job_that_is_given_out_twice_is_done_once(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate:
        run = await gate.submit("hello")
        fleet.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
            " SELECT queue_name, task_name, args FROM procrastinate_jobs"
        )
        async with fleet.member("hand", role=Role.WORKER) as hand:
            await gate.ended(run)
            await until(lambda: fleet.execute("SELECT count(*) FROM procrastinate_jobs") == [(0,)], "all jobs ended")

    assert len(hand.backend.turns) == 1


async def test_a_cancelled_run_is_not_begun_and_makes_room(fleet: Fleet) -> None:
    agents = {"main": {"max_concurrent": 1}}
    async with fleet.member("gate", slots=0, agents=agents) as gate:
        first = await gate.submit("first", session="main:test:a")
        second = await gate.submit("second", session="main:test:b")
        await gate.engine.runs.cancel_run(first.id)
        async with fleet.member("hand", role=Role.WORKER, agents=agents) as hand:
            assert (await gate.ended(second)).outcome is Outcome.COMPLETED

    assert [turn.input for turn in hand.backend.turns] == ["second"]


async def test_a_delayed_run_begins_when_it_is_due(fleet: Fleet) -> None:
    async with fleet.member("one") as one:
        run = await one.submit("later", run_at=one.store.clock() + 200)

        ended = await one.ended(run)

    assert ended.started is not None
    assert run.spec.run_at is not None
    assert ended.started >= run.spec.run_at


async def test_a_running_run_is_cancelled_from_another_member(fleet: Fleet) -> None:
    async with fleet.member("gate", slots=0) as gate, fleet.member("hand", hanging, role=Role.WORKER):
        run = await gate.said(await gate.submit("think long"))
        await gate.engine.runs.cancel_run(run.id)

        assert (await gate.ended(run)).status is Status.CANCELLED
