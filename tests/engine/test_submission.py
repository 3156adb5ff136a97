"""Every run gets in by the same rules: those that are requested, triggered, and fired by a schedule."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.domain.agent import SessionMode
from gateway.domain.page import Page
from gateway.domain.run import OnInterrupt, Outcome, Run
from gateway.domain.schedule import FireOutcome, ScheduleSpec
from gateway.engine.execution import caller, claim_loop
from gateway.errors import AgentBusy, TooDeep
from tests.contracts.stores import SteppedClock, spec
from tests.engine.stage import Stage, hanging, staged

pytestmark = pytest.mark.both_stores

MINUTE = 60_000
PAGE = Page(limit=100)
SESSION = "main:cron:s"

Way = Callable[[Stage, SteppedClock], Awaitable[Run]]


async def request(stage: Stage, clock: SteppedClock) -> Run:
    return (await stage.engine.runs.submit_run(spec(SESSION, "the next"))).run


async def trigger(stage: Stage, clock: SteppedClock) -> Run:
    await stage.engine.schedules.create_schedule(ScheduleSpec(expression="every 1h", input="the next"), "s")
    return (await stage.engine.schedules.trigger_schedule("s")).run


async def fire(stage: Stage, clock: SteppedClock, id_: str = "s") -> Run:
    await stage.engine.schedules.create_schedule(ScheduleSpec(expression="every 1m", input="the next"), id_)
    clock.forward(MINUTE)
    await stage.engine._scheduler._fire_due()
    (found,) = await stage.engine.schedules.list_fires(id_, PAGE)
    return await stage.store.runs.get(str(found.run))


@pytest.mark.parametrize("submit", [request, trigger, fire])
async def test_a_run_takes_its_policy_from_its_agent(tmp_path: Path, submit: Way) -> None:
    clock = SteppedClock()
    async with staged(tmp_path, agents={"main": {"on_interrupt": OnInterrupt.FAIL}}, clock=clock) as stage:
        assert (await submit(stage, clock)).spec.on_interrupt is OnInterrupt.FAIL


@pytest.mark.parametrize("submit", [request, trigger, fire])
async def test_a_run_interrupts_what_is_at_work_if_its_agent_says_so(tmp_path: Path, submit: Way) -> None:
    clock = SteppedClock()
    agents = {"main": {"session_mode": SessionMode.INTERRUPT}}
    async with staged(tmp_path, hanging, agents=agents, clock=clock) as stage:
        first = await stage.said(await stage.submit("think long", SESSION))
        second = await submit(stage, clock)
        ended = [await stage.ended(run) for run in (first, second)]

    assert [run.outcome for run in ended] == [Outcome.CANCELLED_BY_USER, Outcome.COMPLETED]


@pytest.mark.parametrize("submit", [request, trigger, fire])
async def test_a_run_waits_for_a_busy_session_by_default(tmp_path: Path, submit: Way) -> None:
    clock = SteppedClock()
    async with staged(tmp_path, hanging, clock=clock) as stage:
        first = await stage.said(await stage.submit("think long", SESSION))
        second = await submit(stage, clock)
        await stage.engine.runs.cancel_run(first.id)

        assert (await stage.ended(second)).outcome is Outcome.COMPLETED


@pytest.mark.parametrize("submit", [request, trigger])
async def test_who_submits_a_run_to_a_busy_session_is_told_so(tmp_path: Path, submit: Way) -> None:
    clock = SteppedClock()
    agents = {"main": {"session_mode": SessionMode.REJECT}}
    async with staged(tmp_path, hanging, agents=agents, clock=clock) as stage:
        await stage.said(await stage.submit("think long", SESSION))

        with pytest.raises(AgentBusy, match=f"the session {SESSION} is busy"):
            await submit(stage, clock)


async def test_a_time_that_meets_a_busy_session_is_recorded_and_others_fire(tmp_path: Path) -> None:
    clock = SteppedClock()
    agents = {"main": {"session_mode": SessionMode.REJECT}}
    async with staged(tmp_path, hanging, agents=agents, clock=clock) as stage:
        await stage.said(await stage.submit("think long", SESSION))
        await stage.engine.schedules.create_schedule(ScheduleSpec(expression="every 1m", input="the next"), "s")
        other = await fire(stage, clock, "other")

        (refused,) = await stage.engine.schedules.list_fires("s", PAGE)
        found = await stage.engine.schedules.get_schedule("s")
        assert (refused.outcome, refused.run) == (FireOutcome.REFUSED, None)
        assert f"the session {SESSION} is busy" in (refused.error or "")
        assert (found.failures, found.next_at) == (1, clock.now + MINUTE)
        assert (await stage.ended(other)).outcome is Outcome.COMPLETED


@pytest.mark.parametrize("submit", [request, trigger])
async def test_agents_cannot_submit_deeper_than_the_limit(tmp_path: Path, submit: Way) -> None:
    clock = SteppedClock()
    async with staged(tmp_path, max_depth=2, clock=clock) as stage:
        token = caller.CALLER_DEPTH.set(3)
        try:
            with pytest.raises(TooDeep):
                await submit(stage, clock)
        finally:
            caller.CALLER_DEPTH.reset(token)


async def test_a_fire_that_is_put_off_at_random_begins_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_loop, "MAX_CLAIM_SLEEP_SECONDS", 3600.0)
    clock = SteppedClock()
    async with staged(tmp_path, clock=clock) as stage:
        await stage.engine.schedules.create_schedule(
            ScheduleSpec(expression="every 1m", input="hello", jitter=0.2), "s"
        )
        clock.forward(MINUTE)
        await stage.engine._scheduler._fire_due()
        (fired,) = await stage.engine.schedules.list_fires("s", PAGE)
        clock.forward(200)

        assert (await stage.ended(str(fired.run))).outcome is Outcome.COMPLETED


async def test_a_run_says_who_submits_it(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with staged(tmp_path, hanging, clock=clock) as stage:
        token = caller.CALLER_NAME.set("anna")
        try:
            by_anna = (await stage.engine.runs.submit_run(spec())).run
            by_chat = (
                await stage.engine.runs.submit_run(msgspec.structs.replace(spec(), submitted_by="telegram:7"))
            ).run
            await stage.engine.runs.cancel_run(by_chat.id)
            await stage.ended(by_chat)
            caller.CALLER_NAME.set("ben")
            again = await stage.engine.runs.retry_run(by_chat.id)
        finally:
            caller.CALLER_NAME.reset(token)
        by_nobody = (await stage.engine.runs.submit_run(spec())).run

        runs = [await stage.engine.runs.get_run(run.id) for run in (by_anna, by_chat, again, by_nobody)]
        assert [run.spec.submitted_by for run in runs] == ["anna", "telegram:7", "ben", None]
