"""The engine keeps to budgets when runs are concurrent, when they crash, and over midnight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.agent import AgentDraft
from gateway.domain.budget import Budget, CalendarDays, UsageGrouping
from gateway.domain.event import Text, Usage
from gateway.domain.ports.backend import Turn
from gateway.domain.run import Outcome, Status
from gateway.domain.schedule import ScheduleSpec
from gateway.errors import InvalidRequest, Unavailable
from gateway.store.sql.store import SqlStore
from harness.waiting import until
from tests.contracts.stores import LIMITS, START, SteppedClock, spec
from tests.engine.stage import Act, Anything, Between, Stage, answering, dead, hanging, staged

pytestmark = pytest.mark.both_stores

HOUR = 3_600_000
STEP = Usage(input=90, output=10, cost=0.5)


async def working(turn: Turn) -> AsyncGenerator[Anything, None]:
    yield Text(delta="done")
    yield STEP


def limited(**fields: Any) -> dict[str, Any]:
    return {"main": {"max_concurrent": 10, "budget": Budget(**fields)}}


def at_ten(directory: Path, act: Act = answering, **options: Any) -> AbstractAsyncContextManager[Stage]:
    """Open an engine in the evening of a day that does not end during the test."""
    return staged(directory, act, **{"clock": SteppedClock(START), **options})


async def ends(stage: Stage, count: int) -> list[Outcome | None]:
    """Submit runs at once, each in its own session, and wait for their ends."""
    runs = await asyncio.gather(*(stage.submit(session=f"main:test:{number}") for number in range(count)))
    return [(await stage.ended(run)).outcome for run in runs]


async def test_of_many_runs_submitted_at_once_only_as_many_run_as_the_budget_allows(tmp_path: Path) -> None:
    async with at_ten(tmp_path, working, agents=limited(runs=5)) as stage:
        found = await ends(stage, 40)

        assert (found.count(Outcome.COMPLETED), found.count(Outcome.OVER_BUDGET)) == (5, 35)
        assert len(stage.backend.turns) == 5


async def test_concurrent_runs_do_not_overdraw_tokens_once_the_usage_of_a_run_is_known(
    tmp_path: Path,
) -> None:
    async with at_ten(tmp_path, working, agents=limited(tokens=1000)) as stage:
        await stage.do()
        found = await ends(stage, 30)
        (used,) = await stage.store.usage.sum_days(UsageGrouping.AGENT, "2000-01-01", "2999-01-01")

    assert (found.count(Outcome.COMPLETED), found.count(Outcome.OVER_BUDGET)) == (9, 21)
    assert (used.totals.runs, used.totals.total_tokens) == (10, 1000)


async def test_not_even_the_first_runs_overdraw_a_cost_limit(tmp_path: Path) -> None:
    async with at_ten(tmp_path, working, agents=limited(cost=2.0)) as stage:
        found = await ends(stage, 20)

    assert (found.count(Outcome.COMPLETED), found.count(Outcome.OVER_BUDGET)) == (4, 16)


async def test_a_cost_limit_stops_an_agent_that_reports_no_cost(tmp_path: Path) -> None:
    async with at_ten(tmp_path, agents=limited(cost=100.0)) as stage:
        found = await ends(stage, 5)

    assert (found.count(Outcome.COMPLETED), found.count(Outcome.OVER_BUDGET)) == (1, 4)


async def test_usage_of_a_crashed_gateway_counts(tmp_path: Path) -> None:
    async def leave(store: SqlStore) -> None:
        await store.runs.accept(spec())
        (run,) = await store.runs.claim(str(dead()), LIMITS)
        await store.events.append(run.id, run.epoch, [STEP, STEP])

    async with at_ten(tmp_path, working, agents=limited(runs=2, tokens=250), prepare=leave) as stage:
        # When it leads, the gateway rescues the run and tries it again: after 200 tokens, 100 more exceed the limit.
        await until(lambda: stage.backend.turns, "the run is tried again")
        again = stage.backend.turns[0]
        await stage.ended(again.run)
        refused = await stage.do()

    assert (again.attempt, refused.outcome) == (2, Outcome.OVER_BUDGET)
    assert "300 of 250 tokens" in (refused.error or "")


async def test_an_end_that_is_stored_late_counts_once(tmp_path: Path) -> None:
    async with at_ten(tmp_path, working, agents=limited(runs=9), wrap=Between) as stage:
        between = stage.engine._store
        assert isinstance(between, Between)
        between.refuse["runs.finish"] = [Unavailable("no")]
        await stage.do()
        (used,) = await stage.store.usage.sum_days(UsageGrouping.AGENT, "2000-01-01", "2999-01-01")

    assert (between.calls["runs.finish"], used.totals.runs, used.totals.total_tokens) == (2, 1, 100)


async def test_at_midnight_the_budget_starts_again(tmp_path: Path) -> None:
    clock = SteppedClock(START)
    async with at_ten(tmp_path, working, agents=limited(runs=1), clock=clock) as stage:
        outcomes = [(await stage.do()).outcome for _ in range(2)]
        clock.forward(2 * HOUR)
        outcomes += [(await stage.do()).outcome for _ in range(2)]

    assert outcomes == [Outcome.COMPLETED, Outcome.OVER_BUDGET] * 2


async def test_a_refused_run_lets_the_next_one_of_another_agent_begin(tmp_path: Path) -> None:
    agents = {"main": {"budget": Budget(runs=1)}, "other": {}}
    async with at_ten(tmp_path, hanging, agents=agents, max_runs=2) as stage:
        first = await stage.submit(session="main:test:a")
        await stage.begun(first)
        refused = await stage.submit(session="main:test:b")
        other = await stage.submit(session="other:test:a")

        assert (await stage.ended(refused)).outcome is Outcome.OVER_BUDGET
        assert (await stage.begun(other)).status is Status.RUNNING


async def test_a_schedules_budget_refuses_its_runs_and_leaves_it_enabled(tmp_path: Path) -> None:
    async with at_ten(tmp_path, working) as stage:
        wanted = ScheduleSpec(expression="every 1d", input="wake", max_failures=1, budget=Budget(runs=1))
        made = await stage.engine.schedules.create_schedule(wanted)
        runs = [(await stage.engine.schedules.trigger_schedule(made.id)).run for _ in range(2)]
        found = [(await stage.ended(run)).outcome for run in runs]

        assert found == [Outcome.COMPLETED, Outcome.OVER_BUDGET]
        assert (await stage.engine.schedules.get_schedule(made.id)).enabled is True


async def test_a_stored_agent_has_the_limits_of_its_base_for_itself_unless_it_has_its_own(tmp_path: Path) -> None:
    async with at_ten(tmp_path, working, agents=limited(runs=1)) as stage:
        for draft in (AgentDraft(slug="same"), AgentDraft(slug="free", budget=Budget())):
            await stage.engine.agents.create_agent(draft)
        found = {}
        for name in ("main", "same", "free"):
            agent = stage.engine.agents.get_by_name(name).id
            found[name] = [(await stage.do(session=f"{agent}:test:a")).outcome for _ in range(2)]

    over = [Outcome.COMPLETED, Outcome.OVER_BUDGET]
    assert found == {"main": over, "same": over, "free": [Outcome.COMPLETED] * 2}


# --- reports ----------------------------------------------------------------------------------


async def test_a_report_has_the_usage_and_what_is_left(tmp_path: Path) -> None:
    async with at_ten(tmp_path, working, agents=limited(runs=3, cost=2.0), days=CalendarDays("Asia/Tokyo")) as stage:
        await stage.do()
        report = await stage.engine.usage.report_usage(UsageGrouping.AGENT)

    (used,), (account,) = report.used, report.budgets
    assert (report.zone, report.since, report.until) == ("Asia/Tokyo", "2023-10-17", "2023-11-15")
    assert (used.name, used.totals.total_tokens, account.name, account.owner_kind) == (
        "main",
        100,
        "main",
        UsageGrouping.AGENT,
    )
    assert (account.used.runs, account.left, account.is_exhausted) == (1, Budget(runs=2, cost=1.5), False)


async def test_a_report_of_one_agent_has_only_that_agent(tmp_path: Path) -> None:
    agents = {"main": {"budget": Budget(runs=5)}, "other": {"budget": Budget(runs=5)}}
    async with at_ten(tmp_path, working, agents=agents) as stage:
        for agent in ("main", "other", None):
            spec_ = ScheduleSpec(expression="every 1d", input="x", name=str(agent), agent=agent, budget=Budget(runs=1))
            await stage.engine.schedules.create_schedule(spec_)
        await stage.do(session="main:test:a")
        await stage.do(session="other:test:a")
        found = await stage.engine.usage.report_usage(UsageGrouping.AGENT, agent="main")
        gone = await stage.engine.usage.report_usage(UsageGrouping.AGENT, agent="no-more")

    assert [one.name for one in found.used] == ["main"]
    assert sorted(one.name for one in found.budgets) == ["None", "main", "main"]
    assert (gone.used, gone.budgets) == ([], [])


async def test_a_report_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    async with at_ten(tmp_path) as stage:
        with pytest.raises(InvalidRequest, match="since: 2026-01-02 is later than 2026-01-01"):
            await stage.engine.usage.report_usage(UsageGrouping.DAY, date(2026, 1, 2), date(2026, 1, 1))


async def test_a_report_may_begin_on_the_first_day_of_the_calendar(tmp_path: Path) -> None:
    async with at_ten(tmp_path) as stage:
        report = await stage.engine.usage.report_usage(UsageGrouping.DAY, until=date(1, 1, 5))

    assert (report.since, report.until, list(report.used)) == ("0001-01-01", "0001-01-05", [])
