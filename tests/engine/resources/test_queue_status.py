"""The queue status explains to people why queued runs have not begun."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.domain.agent import AgentDraft, AgentEdit
from gateway.domain.budget import Budget, CalendarDays
from gateway.domain.run import Run, Source
from gateway.engine.resources.queue_status import WaitReason
from tests.contracts.stores import START, SteppedClock, spec
from tests.engine.stage import Stage, hanging, staged

pytestmark = pytest.mark.both_stores


async def wait(stage: Stage, run: Run) -> WaitReason:
    """Return what a waiting run waits for."""
    found = await stage.engine.queue_status.explain_waits([await stage.store.runs.get(run.id)])
    return found[run.id]


async def behind(stage: Stage, session: str) -> Run:
    """Submit a run of source `background`."""
    return (await stage.engine.runs.submit_run(msgspec.structs.replace(spec(session), source=Source.BACKGROUND))).run


async def test_a_run_that_is_at_work_or_over_waits_for_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging, agents={"main": {"max_concurrent": 2}}) as stage:
        over = await stage.do("the next one")
        at_work = await stage.begun(await stage.submit())

        assert await stage.engine.queue_status.explain_waits([await stage.store.runs.get(over.id), at_work]) == {}


async def test_a_delayed_run_says_when_it_may_begin(tmp_path: Path) -> None:
    async with staged(tmp_path, clock=SteppedClock(START)) as stage:
        run = await stage.submit(run_at=START + 60_000)

        assert await wait(stage, run) == WaitReason(
            text="it must not begin before 2023-11-14T22:14:20.000Z", until=START + 60_000
        )


async def test_a_run_behind_another_of_its_session_names_that_one(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        first = await stage.begun(await stage.submit())
        second = await stage.submit()

        assert await wait(stage, second) == WaitReason(text=f"the run {first.id} of its session goes first")


async def test_a_run_of_a_busy_agent_says_how_many_runs_the_agent_takes(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging, agents={"main": {"max_concurrent": 1}}) as stage:
        await stage.begun(await stage.submit())
        run = await stage.submit(session="main:test:b")

        assert (await wait(stage, run)).text == "the agent 'main' is at work on 1 of 1 runs that it takes at a time"


async def test_the_limits_over_all_agents_are_named(tmp_path: Path) -> None:
    agents = {"main": {"max_concurrent": 5}}
    async with staged(tmp_path, hanging, agents=agents, max_runs=2, max_background=1) as stage:
        await stage.begun(await behind(stage, "main:test:a"))
        why = (await wait(stage, await behind(stage, "main:test:b"))).text
        await stage.begun(await stage.submit(session="main:test:c"))
        last = await stage.submit(session="main:test:d")

        assert why == "1 of 1 background tasks are at work (limits.background)"
        assert (await wait(stage, last)).text == "2 of 2 runs are at work, over all agents (limits.runs)"


async def test_a_run_that_waits_for_a_budget_says_so_and_until_when(tmp_path: Path) -> None:
    agents = {"main": {"max_concurrent": 5, "budget": Budget(cost=2.0)}}
    async with staged(tmp_path, hanging, agents=agents, clock=SteppedClock(START)) as stage:
        await stage.begun(await stage.submit())
        run = await stage.submit(session="main:test:b")

        found = await wait(stage, run)
        assert found.text.startswith("the runs in progress (1 now) may use up the budget of the agent 'main'")
        assert found.until == CalendarDays().day_end(START)


async def test_runs_of_agents_that_are_disabled_or_gone_say_so_and_are_counted(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging, agents={"main": {"max_concurrent": 1}}) as stage:
        draft = AgentDraft(slug="other")
        other = (await stage.engine.agents.create_agent(draft)).agent.id
        disabled = await stage.submit(session=f"{other}:test:a", held=True)
        await stage.engine.agents.edit_agent(other, AgentEdit(enabled=False))
        await stage.store.runs.release(disabled.id, stage.engine.agents.default_agent.session_mode)
        gone = (await stage.store.runs.accept(spec("gone:test:a"))).run

        assert (await wait(stage, disabled)).text == "its agent 'other' is disabled: enable it, or cancel this task"
        assert "its agent 'gone' no longer exists" in (await wait(stage, gone)).text
        assert await stage.engine.queue_status.count_stranded_runs() == {"other": 1, "gone": 1}
