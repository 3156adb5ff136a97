"""The worker claims and executes as many runs as the limits allow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.budget import Budget
from gateway.domain.event import Text
from gateway.domain.ports.backend import Turn
from gateway.domain.run import OnInterrupt, Outcome, Run, Status
from gateway.engine import storage_retry
from gateway.engine.execution import claim_loop, worker
from gateway.engine.execution.attempt_files import AttemptFiles
from gateway.errors import StorageFull, Unavailable
from gateway.store.sql import claiming
from gateway.store.sql.store import SqlStore
from harness.waiting import PATIENCE, until
from tests.contracts.stores import SteppedClock, spec
from tests.engine.stage import Act, Anything, Between, Stage, answering, hanging, staged

pytestmark = pytest.mark.both_stores

_CLAIM = "runs.claim"


async def pausing(turn: Turn) -> AsyncGenerator[Anything, None]:
    await asyncio.sleep(0.01)
    yield Text(delta="done")


async def submit_many(stage: Stage, count: int, agent: str = "main") -> list[Any]:
    return [await stage.submit(session=f"{agent}:test:{number}") for number in range(count)]


# --- limits -----------------------------------------------------------------------------------


async def full_house(stage: Stage, gate: asyncio.Event, runs: list[Any], room: int) -> None:
    """Check that as many runs are at work as there is room for, and that all of them end."""
    await until(lambda: stage.backend.working == room, f"{room} are at work")
    gate.set()
    for run in runs:
        assert (await stage.ended(run)).status is Status.SUCCEEDED
    assert stage.backend.most == room


def held_by(gate: asyncio.Event) -> Act:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        await gate.wait()
        yield Text(delta="done")

    return act


async def test_an_agent_works_on_max_concurrent_runs_at_once(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with staged(tmp_path, held_by(gate), agents={"main": {"max_concurrent": 3}}) as stage:
        await full_house(stage, gate, await submit_many(stage, 12), 3)


async def test_the_gateway_works_on_max_runs_at_once(tmp_path: Path) -> None:
    agents = {"main": {"max_concurrent": 10}, "other": {"max_concurrent": 10}}
    gate = asyncio.Event()
    async with staged(tmp_path, held_by(gate), agents=agents, max_runs=4) as stage:
        runs = [*await submit_many(stage, 8), *await submit_many(stage, 8, "other")]
        await full_house(stage, gate, runs, 4)


async def test_a_session_works_on_one_run_at_a_time_in_order(tmp_path: Path) -> None:
    async with staged(tmp_path, pausing, agents={"main": {"max_concurrent": 10}}) as stage:
        runs = [await stage.submit(str(number)) for number in range(6)]
        for run in runs:
            await stage.ended(run)

        assert stage.backend.most == 1
        assert [turn.input for turn in stage.backend.turns] == [str(number) for number in range(6)]


async def test_a_full_gateway_waits_quietly(tmp_path: Path) -> None:
    """It does not ask the store again and again whether there is room."""
    between = Between()

    async with staged(tmp_path, hanging, max_runs=1, wrap=between.around) as stage:
        await stage.begun(await stage.submit(session="main:test:a"))
        await submit_many(stage, 3)
        before = dict(between.calls)
        await asyncio.sleep(0.1)
        after = between.calls

        assert after["runs.next_due_at"] - before.get("runs.next_due_at", 0) <= 3
        assert after["runs.claim"] - before["runs.claim"] <= 3


async def test_what_the_agents_are_doing_can_be_seen(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging, agents={"main": {}, "off": {"enabled": False}}) as stage:
        await stage.begun(await stage.submit())

        assert [(view.activity.value, view.load.running) for view in await stage.engine.agents.list_views()] == [
            ("working", 1),
            ("disabled", 0),
        ]


# --- waking up --------------------------------------------------------------------------------


async def test_an_idle_gateway_begins_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_loop, "MAX_CLAIM_SLEEP_SECONDS", 3600.0)
    async with staged(tmp_path) as stage:
        for _ in range(3):
            assert (await stage.do()).status is Status.SUCCEEDED


async def test_refused_runs_that_are_too_many_for_one_claim_are_refused_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_loop, "MAX_CLAIM_SLEEP_SECONDS", 3600.0)
    monkeypatch.setattr(claiming, "MAX_CLAIM_ROUNDS", 2)
    agents = {"main": {"budget": Budget(runs=1)}}
    async with staged(tmp_path, agents=agents, max_runs=1) as stage:
        _, *refused = [await stage.ended(run) for run in await submit_many(stage, 7)]

    assert {run.outcome for run in refused} == {Outcome.OVER_BUDGET}


async def test_a_delayed_run_begins_when_it_is_due(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with staged(tmp_path, clock=clock) as stage:
        now = clock.now
        late = await stage.submit("late", session="main:test:b", run_at=now + 550)
        early = await stage.submit("early", session="main:test:a", run_at=now + 50)
        clock.forward(50)
        await stage.ended(early)
        clock.forward(500)
        ended = await stage.ended(late)

    assert [turn.input for turn in stage.backend.turns] == ["early", "late"]
    assert ended.started == now + 550


async def test_a_clock_that_is_set_back_delays_a_run_but_does_not_lose_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_loop, "MAX_CLAIM_SLEEP_SECONDS", 0.02)
    clock = SteppedClock()
    async with staged(tmp_path, clock=clock) as stage:
        run = await stage.submit(run_at=clock.now + 1000)
        clock.forward(-3_600_000)
        await asyncio.sleep(0.06)
        assert (await stage.store.runs.get(run.id)).status is Status.QUEUED
        clock.forward(3_600_000 + 1000)

        assert (await stage.ended(run)).status is Status.SUCCEEDED


@pytest.mark.parametrize("error", [StorageFull(), Unavailable("gone"), RuntimeError("a bug")])
async def test_a_claim_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(claim_loop, "RETRY_SECONDS", 0.01)

    waiting: list[Run] = []

    async def leave(store: SqlStore) -> None:
        waiting.append((await store.runs.accept(spec())).run)

    between = Between()
    between.refuse["runs.claim"] = [error, error]

    async with staged(tmp_path, wrap=between.around, prepare=leave) as stage:
        assert (await stage.ended(waiting[0])).status is Status.SUCCEEDED
    assert between.refuse["runs.claim"] == []


# --- stopping ---------------------------------------------------------------------------------


async def test_a_drain_lets_runs_end_within_the_grace(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        await release.wait()
        yield Text(delta="in time")

    async with staged(tmp_path, act) as stage:
        run = await stage.begun(await stage.submit())
        draining = asyncio.create_task(stage.engine.drain_runs(30))
        release.set()
        await draining

        assert (await stage.store.runs.get(run.id)).result == "in time"


async def test_a_claimed_run_that_is_to_be_cancelled_is_cancelled(tmp_path: Path) -> None:
    waiting: list[Run] = []

    async def cancel_early(store: SqlStore) -> None:
        waiting.append((await store.runs.accept(spec())).run)
        await store.runs.database.write(lambda tx: tx.execute("UPDATE runs SET cancel_requested = 1"))

    async with staged(tmp_path, hanging, prepare=cancel_early) as stage:
        assert (await stage.ended(waiting[0])).status is Status.CANCELLED


async def test_a_claim_that_hangs_ends_with_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_loop, "LAST_CLAIM_TIMEOUT_SECONDS", 0.01)
    claims = asyncio.Event()

    class Hanging(Between):
        async def perform(self, name: str, operation: Callable[..., Awaitable[Any]], *args: Any, **kw: Any) -> Any:
            if name == _CLAIM:
                claims.set()
                await asyncio.Event().wait()
            return await super().perform(name, operation, *args, **kw)

    async with staged(tmp_path, wrap=Hanging) as stage:
        await stage.submit()
        await claims.wait()
        await stage.engine.drain_runs(0)

        assert "worker" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_drain_begins_nothing_new(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.engine.drain_runs(0)
        run = await stage.submit()
        await stage.engine.drain_runs(0)

        assert ((await stage.store.runs.get(run.id)).status, stage.backend.turns) == (Status.QUEUED, [])


async def test_a_run_that_a_stop_interrupts_is_finished_after_the_next_start(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        run = await stage.begun(await stage.submit())
        await stage.engine.drain_runs(0.01)
        cut = await stage.store.runs.get(run.id)
    async with staged(tmp_path, answering) as stage:
        ended = await stage.ended(run)

    assert (cut.status, cut.attempt) == (Status.QUEUED, 1)
    assert (ended.status, ended.attempt) == (Status.SUCCEEDED, 2)


async def test_a_run_that_must_not_be_tried_again_ends_with_the_stop(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging, agents={"main": {"on_interrupt": OnInterrupt.FAIL}}) as stage:
        run = await stage.begun(await stage.submit())
        await stage.engine.drain_runs(0)
        ended = await stage.store.runs.get(run.id)

    assert (ended.status, ended.outcome) == (Status.FAILED, Outcome.INTERRUPTED)


async def test_a_drain_can_be_told_to_skip_the_grace(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        run = await stage.begun(await stage.submit())
        draining = asyncio.create_task(stage.engine.drain_runs(3600))
        await asyncio.sleep(0)
        stage.engine.skip_grace()
        async with asyncio.timeout(PATIENCE):
            await draining

        assert (await stage.store.runs.get(run.id)).status is Status.QUEUED


async def test_a_disk_that_refuses_does_not_hold_a_stop_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ATTEMPT_INTERRUPT_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(storage_retry, "STORAGE_RETRY_SECONDS", 0.01)

    between = Between()
    between.refuse["runs.requeue"] = [StorageFull() for _ in range(10_000)]

    async with staged(tmp_path, hanging, wrap=between.around) as stage:
        run = await stage.begun(await stage.submit())
        async with asyncio.timeout(PATIENCE):
            await stage.engine.drain_runs(0)
        left = await stage.store.runs.get(run.id)

    assert left.status is Status.RUNNING  # the next start rescues it
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("run-")], "it is over")


# --- what a commit has claimed ------------------------------------------------------------------


async def test_a_run_begins_even_if_its_caller_has_gone_away(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        submitting = asyncio.create_task(stage.submit())
        await asyncio.sleep(0)  # now the write waits
        submitting.cancel()

        await until(lambda: stage.backend.turns, "the run begins")


async def test_no_other_commit_is_needed_to_begin_a_run_and_the_next_one(tmp_path: Path) -> None:
    between = Between()

    async with staged(tmp_path, wrap=between.around) as stage:
        await until(lambda: between.calls.get("runs.next_due_at"), "the first step of the worker is done")
        between.refuse[_CLAIM] = [Unavailable("the worker claims by itself")] * 1000
        for run in [await stage.submit(), await stage.submit(), await stage.submit()]:
            assert (await stage.ended(run)).status is Status.SUCCEEDED


async def test_a_run_begins_when_the_one_before_it_in_its_session_has_cleaned_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    close = AttemptFiles.close

    async def close_slowly(files: AttemptFiles) -> None:
        await asyncio.sleep(0.05)
        await close(files)
        order.append("cleaned")

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        order.append("began")
        yield Text(delta="done")

    monkeypatch.setattr(AttemptFiles, "close", close_slowly)
    async with staged(tmp_path, act) as stage:
        for ended in [await stage.submit(), await stage.submit()]:
            await stage.ended(ended)
        await stage.engine.drain_runs(PATIENCE)

    assert order == ["began", "cleaned"] * 2


async def test_a_run_that_waits_for_the_one_before_it_to_clean_up_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaning = asyncio.Event()
    is_first = iter([True])

    async def close_late(_: AttemptFiles) -> None:
        if next(is_first, False):
            await cleaning.wait()

    monkeypatch.setattr(AttemptFiles, "close", close_late)
    monkeypatch.setattr(worker, "ATTEMPT_INTERRUPT_TIMEOUT_SECONDS", 3600.0)
    async with staged(tmp_path, hanging) as stage:
        first, second = await stage.submit("the next"), await stage.submit()
        await stage.ended(first)
        await stage.begun(second)

        await stage.engine.runs.cancel_run(second.id)

        assert (await stage.ended(second)).status is Status.CANCELLED
        cleaning.set()
