"""Every store keeps the contract: usage is counted once, and budgets hold for all processes that claim."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.domain.agent import AgentDraft, AgentEdit
from gateway.domain.budget import Budget, CalendarDays, UsageGroup, UsageGrouping, UsageTotals
from gateway.domain.delivery import Target
from gateway.domain.event import Usage
from gateway.domain.ports.run_store import Fenced
from gateway.domain.ports.store import Store
from gateway.domain.queue import RunLimits
from gateway.domain.run import AttemptResult, GoalRound, Move, Outcome, Run, RunSpec, Source, Status
from gateway.domain.schedule import Schedule, ScheduleSpec
from tests.contracts.stores import ALL, PAGE, START, Shelf, SteppedClock, done, finish, kinds_of, spec

HOUR = 3_600_000
#: START is 22:13:20 UTC of this day
TODAY, TOMORROW = "2023-11-14", "2023-11-15"
STEP = Usage(input=100, output=20, cached=50, cost=0.25)


def limits(**fields: Any) -> RunLimits:
    return RunLimits(total=1000, agents={"main": 1000, "other": 1000}, budgets={"main": Budget(**fields)})


def scheduled(session: str, schedule: str = "s", budget: Budget | None = None) -> RunSpec:
    made = spec(session, labels={"schedule": schedule}, budget=budget)
    return msgspec.structs.replace(made, source=Source.CRON)


async def accept(store: Store, count: int = 1, agent: str = "main", **fields: Any) -> None:
    """Accept runs, each in its own session."""
    already = len(await store.runs.list(ALL, PAGE))
    for number in range(already, already + count):
        await store.runs.accept(spec(f"{agent}:test:{number}", **fields))


async def go(store: Store, within: RunLimits) -> list[Run]:
    """Claim runs, and return those that may start."""
    return [run for run in await store.runs.claim("owner", within) if run.status is Status.RUNNING]


async def end(store: Store, run: Run, usage: Usage = STEP) -> Run:
    return await finish(store, run, done(usage=usage), [usage] if usage != Usage() else [])


async def spent(store: Store, day: str = TODAY, by: UsageGrouping = UsageGrouping.AGENT) -> dict[str, UsageTotals]:
    return {one.name: one.totals for one in await store.usage.sum_days(by, day, day)}


# --- counting ---------------------------------------------------------------------------------


async def test_usage_is_reported_by_day_agent_and_schedule(store: Store, clock: SteppedClock) -> None:
    await store.runs.accept(scheduled("main:cron:s"))
    await accept(store, agent="other")
    for run in await go(store, limits()):
        await end(store, run)
    clock.forward(2 * HOUR)
    await accept(store)
    (late,) = await go(store, limits())
    await end(store, late)

    one = UsageTotals(runs=1, input=100, output=20, cached=50, cost=0.25)
    two = UsageTotals(runs=2, input=200, output=40, cached=100, cost=0.5)
    assert await store.usage.sum_days(UsageGrouping.DAY, TODAY, TOMORROW) == [
        UsageGroup(name=TODAY, totals=two),
        UsageGroup(name=TOMORROW, totals=one),
    ]
    assert await store.usage.sum_days(UsageGrouping.AGENT, TODAY, TOMORROW) == [
        UsageGroup(name="main", totals=two),
        UsageGroup(name="other", totals=one),
    ]
    assert await store.usage.sum_days(UsageGrouping.SCHEDULE, TODAY, TOMORROW) == [UsageGroup(name="s", totals=one)]
    assert await store.usage.sum_days(UsageGrouping.DAY, TODAY, TOMORROW, "other") == [
        UsageGroup(name=TODAY, totals=one)
    ]
    assert await store.usage.sum_days(UsageGrouping.DAY, "2023-11-16", "2023-12-31") == []


async def test_usage_counts_when_it_is_reported_and_not_again_at_the_end(store: Store) -> None:
    await accept(store)
    (run,) = await go(store, limits())
    await store.events.append(run.id, run.epoch, [STEP])
    under_way = await store.usage.sum_today(UsageGrouping.AGENT, "main")
    await store.runs.end_round(run.id, run.epoch, GoalRound(number=1, reply="more", usage=STEP + STEP), [STEP])
    await finish(store, run, done(usage=STEP), [STEP])

    assert under_way == UsageTotals(runs=1, input=100, output=20, cached=50, cost=0.25)
    assert await spent(store) == {"main": UsageTotals(runs=1, input=300, output=60, cached=150, cost=0.75)}


async def test_running_runs_of_another_agent_are_not_counted(store: Store) -> None:
    await accept(store, agent="other")
    await go(store, limits(runs=1))
    before = await store.usage.sum_today(UsageGrouping.AGENT, "main")
    await accept(store)

    assert before == UsageTotals()
    assert len(await go(store, limits(runs=1))) == 1


async def test_a_repeated_end_counts_once(store: Store) -> None:
    await accept(store)
    (run,) = await go(store, limits())
    await end(store, run)
    with pytest.raises(Fenced):
        await end(store, run)
    with pytest.raises(Fenced):
        await store.events.append(run.id, run.epoch, [STEP])

    assert (await spent(store))["main"] == UsageTotals(runs=1, input=100, output=20, cached=50, cost=0.25)


async def test_an_interrupted_run_counts_its_reported_usage_and_as_one_run(store: Store) -> None:
    await accept(store)
    (first,) = await go(store, limits())
    await store.events.append(first.id, first.epoch, [STEP])
    await store.owners.rescue_runs("owner")
    between = await store.usage.sum_today(UsageGrouping.AGENT, "main")
    (second,) = await go(store, limits())
    again = await store.usage.sum_today(UsageGrouping.AGENT, "main")
    await end(store, second)

    assert (between.runs, between.total_tokens, again) == (1, 120, between)
    assert (await spent(store))["main"] == UsageTotals(runs=1, input=200, output=40, cached=100, cost=0.5)


async def test_a_run_over_midnight_counts_on_its_first_day_and_its_tokens_when_they_were_used(
    store: Store, clock: SteppedClock
) -> None:
    await accept(store)
    (run,) = await go(store, limits())
    await store.events.append(run.id, run.epoch, [STEP])
    clock.forward(2 * HOUR)
    await end(store, run, Usage(input=7, cost=0.5))

    assert (await spent(store, TODAY))["main"] == UsageTotals(runs=1, input=100, output=20, cached=50, cost=0.25)
    assert (await spent(store, TOMORROW))["main"] == UsageTotals(input=7, cost=0.5)


async def test_days_are_those_of_the_given_time_zone(shelf: Shelf) -> None:
    store = shelf.open(days=CalendarDays("Asia/Tokyo"))
    await accept(store)
    await end(store, (await go(store, limits()))[0])

    assert [one.name for one in await store.usage.sum_days(UsageGrouping.DAY, TODAY, TOMORROW)] == [TOMORROW]


async def test_runs_without_a_known_cost_are_counted(store: Store) -> None:
    await accept(store, 4)
    priced, free, silent, failed = await go(store, limits())
    await end(store, priced)
    await end(store, free, Usage(input=1, output=1))
    await end(store, silent, Usage())
    await finish(store, failed, AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="no model"))

    assert (await spent(store))["main"].unpriced == 2


async def test_runs_without_known_tokens_are_counted(store: Store) -> None:
    await accept(store, 3)
    counted, silent, failed = await go(store, limits())
    await end(store, silent, Usage())
    before = await store.usage.sum_today(UsageGrouping.AGENT, "main")
    await end(store, counted)
    await finish(store, failed, AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="no model"))
    after = await store.usage.sum_today(UsageGrouping.AGENT, "main")

    assert (await spent(store))["main"].uncounted == 1
    assert (before.uncounted, after.uncounted) == (1, 0), "an agent that reports tokens reports all of them"


async def test_impossible_usage_is_clamped(store: Store) -> None:
    await accept(store, 2)
    for run in await go(store, limits()):
        said = [Usage(input=(1 << 63) - 1, output=5, cost=0.5), Usage(output=-5, cost=-1.0)]
        await store.events.append(run.id, run.epoch, said)

    used = await store.usage.sum_today(UsageGrouping.AGENT, "main")
    assert (used.input, used.output, used.cost) == ((1 << 53) - 1, 10, 1.0)


async def test_old_usage_is_pruned(store: Store, clock: SteppedClock) -> None:
    await accept(store)
    await end(store, (await go(store, limits()))[0])
    clock.forward(400 * 24 * HOUR)
    await store.retention.prune_expired()
    kept = await spent(store)
    clock.forward(24 * HOUR)
    await store.retention.prune_expired()

    assert (list(kept), await spent(store)) == (["main"], {})


# --- budgets ----------------------------------------------------------------------------------


async def test_an_agent_that_reports_no_tokens_gets_no_more_runs_by_a_limit_of_tokens(store: Store) -> None:
    await accept(store, 2)
    (first,) = await store.runs.claim(
        "owner", RunLimits(total=1, agents={"main": 1}, budgets={"main": Budget(tokens=9)})
    )
    await end(store, first, Usage())
    (second,) = await store.runs.claim("owner", limits(tokens=9))

    assert (second.outcome, "reported no tokens" in (second.error or "")) == (Outcome.OVER_BUDGET, True)


async def test_a_run_over_the_limit_of_runs_fails_and_says_why(store: Store) -> None:
    target = Target(kind="webhook", address="http://127.0.0.1/")
    await accept(store, 2, deliver=(target,))
    first, second = await store.runs.claim("owner", limits(runs=1))

    assert (first.status, second.status, second.outcome) == (Status.RUNNING, Status.FAILED, Outcome.OVER_BUDGET)
    assert second.error == (
        "the agent 'main' is over its budget: 1 of 1 runs are used today."
        " The budget resets at 2023-11-15T00:00:00.000Z."
    )
    assert (second.attempt, second.started, second.finished) == (0, None, START)
    assert await kinds_of(store, second.id) == ["status", "end"]
    assert [delivery.run for delivery in await store.deliveries.take_due(10, 10)] == [second.id]
    assert [message.role for message in await store.sessions.read_history(second.spec.session, 10)] == ["user"]


async def test_runs_refused_by_a_budget_take_no_capacity_from_others(store: Store) -> None:
    await accept(store, 5)
    await accept(store, 2, agent="other")
    within = RunLimits(total=3, agents={"main": 1, "other": 2}, budgets={"main": Budget(runs=1)})

    assert [run.spec.agent for run in await go(store, within)] == ["main", "other", "other"]


async def test_all_runs_of_a_lane_are_refused_one_after_the_other(store: Store) -> None:
    for _ in range(20):
        await store.runs.accept(spec("main:test:a"))
    (run,) = await go(store, limits(runs=1))
    await end(store, run)
    refused = 0
    while found := await store.runs.claim("owner", limits(runs=1)):
        refused += len(found)

    assert refused == 19


async def test_a_day_later_the_budget_has_reset(store: Store, clock: SteppedClock) -> None:
    await accept(store)
    await end(store, (await go(store, limits(runs=1)))[0])
    await accept(store)
    refused = await go(store, limits(runs=1))
    clock.forward(2 * HOUR)
    await accept(store)

    assert (refused, len(await go(store, limits(runs=1)))) == ([], 1)


async def test_a_run_from_before_midnight_leaves_the_new_day_its_runs(store: Store, clock: SteppedClock) -> None:
    await accept(store)
    (late,) = await go(store, limits(runs=1))
    clock.forward(2 * HOUR)
    await accept(store)
    begun = await go(store, limits(runs=1))
    await end(store, late)
    await end(store, begun[0])

    assert ((await spent(store, TODAY))["main"].runs, (await spent(store, TOMORROW))["main"].runs) == (1, 1)


async def test_two_processes_together_cannot_exceed_a_budget(shelf: Shelf) -> None:
    one, two = shelf.open(), shelf.open()
    await accept(one, 20)
    claims = await asyncio.gather(*(store.runs.claim("owner", limits(runs=7)) for store in (one, two, one, two)))

    statuses = [run.status for claimed in claims for run in claimed]
    assert (statuses.count(Status.RUNNING), statuses.count(Status.FAILED)) == (7, 13)


async def test_a_retried_run_is_not_counted_against_itself(store: Store) -> None:
    await accept(store)
    (run,) = await go(store, limits(runs=1))
    await store.runs.requeue(run.id, run.epoch, "why")

    assert [again.id for again in await go(store, limits(runs=1))] == [run.id]


async def test_a_run_that_crashed_over_its_token_limit_is_not_retried(store: Store) -> None:
    await accept(store)
    (run,) = await go(store, limits(tokens=100))
    await store.events.append(run.id, run.epoch, [STEP])
    await store.owners.rescue_runs("owner")
    (refused,) = await store.runs.claim("owner", limits(tokens=100))

    assert (refused.id, refused.outcome) == (run.id, Outcome.OVER_BUDGET)
    assert "120 of 100 tokens" in (refused.error or "")


async def test_tokens_and_cost_are_limits_too(store: Store) -> None:
    await accept(store)
    await end(store, (await go(store, limits(tokens=121)))[0])
    await accept(store, 3)
    within = [limits(tokens=121), limits(cost=0.25)]
    claimed = [await store.runs.claim("owner", one) for one in within]

    # One run starts, and one waits because the first may use up the rest; with the other limit nothing is left at all.
    assert [[run.status for run in runs] for runs in claimed] == [[Status.RUNNING], [Status.FAILED, Status.FAILED]]


async def test_a_waiting_run_starts_when_runs_in_progress_leave_enough_budget(store: Store) -> None:
    await accept(store)
    await end(store, (await go(store, limits(tokens=300)))[0])
    await accept(store, 3)
    first, second = await go(store, limits(tokens=300))
    none = await go(store, limits(tokens=300))
    await end(store, first, Usage(input=1))
    await end(store, second, Usage(input=1))
    (third,) = await go(store, limits(tokens=300))

    assert (none, third.status) == ([], Status.RUNNING)


@pytest.mark.parametrize("schedules", [1, 40], ids=["one schedule", "many schedules"])
async def test_runs_that_wait_for_a_schedules_budget_keep_no_other_from_starting(store: Store, schedules: int) -> None:
    own, within = Budget(cost=10.0), RunLimits(total=1000, agents={"main": 4 if schedules == 1 else 60})
    for number in range(schedules):  # with a cost limit, the very first run of each goes alone
        await store.runs.accept(scheduled(f"main:cron:first-{number}", f"s{number}", own))
    assert len(await go(store, within)) == schedules
    for number in range(100):
        await store.runs.accept(scheduled(f"main:cron:{number}", f"s{number % schedules}", own))
    innocent = (await store.runs.accept(spec("main:test:innocent"))).run

    assert [run.id for run in await go(store, within)] == [innocent.id]


async def test_runs_that_wait_for_their_agents_budget_keep_no_other_agent_from_starting(store: Store) -> None:
    within = msgspec.structs.replace(limits(cost=10.0), total=2)
    await accept(store)
    assert len(await go(store, within)) == 1
    await accept(store, 100)
    await accept(store, agent="other")

    assert [run.spec.agent for run in await go(store, within)] == ["other"]


async def test_with_a_cost_limit_the_first_run_goes_alone_and_shows_its_cost(store: Store) -> None:
    await accept(store, 3)
    (first,) = await go(store, limits(cost=10.0))
    await end(store, first)

    assert len(await go(store, limits(cost=10.0))) == 2


async def test_after_a_run_of_unknown_cost_a_cost_limit_lets_no_other_start(store: Store) -> None:
    await accept(store, 2)
    (first,) = await go(store, limits(cost=10.0))
    await end(store, first, Usage(input=1, output=1))
    (second,) = await store.runs.claim("owner", limits(cost=10.0))

    assert (second.status, second.outcome) == (Status.FAILED, Outcome.OVER_BUDGET)
    assert "reported no cost" in (second.error or "")


async def test_a_schedule_has_a_budget_in_addition_to_its_agents(store: Store) -> None:
    within, own = limits(runs=100), Budget(runs=2)
    for number in range(3):
        await store.runs.accept(scheduled(f"main:cron:{number}", "s", own))
    await store.runs.accept(scheduled("main:cron:x", "other", own))
    await accept(store)
    runs = await store.runs.claim("owner", within)

    (refused,) = [run for run in runs if run.status is Status.FAILED]
    assert (len(runs), refused.spec.session) == (5, "main:cron:2")
    assert (refused.error or "").startswith("the schedule 's' is over its budget: 2 of 2 runs are used today.")


async def test_a_refused_run_is_no_failure_of_its_schedule(store: Store) -> None:
    wanted = ScheduleSpec(expression="every 1m", input="wake", max_failures=1, budget=Budget(runs=1))
    made = Schedule(id="s", spec=wanted, anchor=START, next_at=START, created=START, updated=START)
    await store.schedules.create(made)
    for number in range(2):
        await store.schedules.trigger("s", scheduled(f"main:cron:{number}", "s", wanted.budget))
    await store.runs.claim("owner", limits())

    found = await store.schedules.get("s")
    assert (found.enabled, found.failures, found.spec.budget) == (True, 0, Budget(runs=1))
    assert await store.schedules.list_budgeted(10) == [found]


async def test_schedules_without_a_budget_are_left_out(store: Store) -> None:
    wanted = ScheduleSpec(expression="every 1m", input="wake")
    await store.schedules.create(
        Schedule(id="s", spec=wanted, anchor=START, next_at=START, created=START, updated=START)
    )

    assert await store.schedules.list_budgeted(10) == []


async def test_a_stored_agent_keeps_its_budget(shelf: Shelf) -> None:
    store = shelf.open()
    made = await store.agents.create(AgentDraft(slug="a", budget=Budget(tokens=5)), "main")
    plain = await store.agents.create(AgentDraft(slug="b"), "main")
    await store.agents.edit(plain.id, AgentEdit(budget=Budget()))
    await store.agents.edit(made.id, AgentEdit(name="other"))
    await store.close()

    found = {agent.slug: agent.budget for agent in await shelf.open().agents.list()}
    assert (plain.budget, found) == (None, {"a": Budget(tokens=5), "b": Budget()})
