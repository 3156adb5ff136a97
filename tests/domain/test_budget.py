"""The arithmetic of budgets, and the calendar days that they are counted by."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from gateway.domain import budget
from gateway.domain.budget import Budget, CalendarDays, UsageTotals
from gateway.domain.event import Usage
from gateway.errors import InvalidRequest

HOUR = 3_600_000


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def shown(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M")


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "used", "reached"),
    [
        (Budget(), UsageTotals(runs=10**6, input=10**9, cost=10**6), None),
        (Budget(runs=2), UsageTotals(runs=1), None),
        (Budget(runs=2), UsageTotals(runs=2), "runs"),
        (Budget(tokens=100), UsageTotals(input=60, output=39), None),
        (Budget(tokens=100), UsageTotals(input=60, output=40), "tokens"),
        (Budget(cost=1.0), UsageTotals(runs=1, cost=0.99), None),
        (Budget(cost=1.0), UsageTotals(runs=1, cost=1.0), "cost"),
        (Budget(cost=1.0), UsageTotals(runs=10, cost=sum([0.1] * 10)), "cost"),
        (Budget(cost=1.0), UsageTotals(runs=1, unpriced=1), "cost"),
        (Budget(runs=5, tokens=10**6), UsageTotals(runs=1, unpriced=1), None),
        (Budget(tokens=10**6), UsageTotals(runs=1, uncounted=1), "tokens"),
        (Budget(runs=5, cost=1.0), UsageTotals(runs=1, uncounted=1), None),
        (Budget(runs=1, tokens=1, cost=1.0), UsageTotals(runs=1, input=1, cost=1.0), "runs"),
    ],
)
def test_a_limit_is_reached_when_all_of_it_is_used(limits: Budget, used: UsageTotals, reached: str | None) -> None:
    found = budget.find_reached_limit(limits, used)

    assert (found.limit if found else None) == reached


@pytest.mark.parametrize(
    ("usage", "succeeded", "is_unknown"),
    [
        (Usage(input=1, output=1, cost=0.01), True, False),
        (Usage(input=1, output=1), True, True),
        (Usage(input=1, output=1), False, True),
        (Usage(), True, True),
        (Usage(), False, False),
    ],
)
def test_the_cost_is_unknown_when_tokens_or_an_answer_come_without_one(
    usage: Usage, succeeded: bool, is_unknown: bool
) -> None:
    assert budget.is_unpriced(usage, succeeded) is is_unknown


@pytest.mark.parametrize(
    ("limits", "used", "recent", "at_work", "waits"),
    [
        # no run is in progress: all that is left may be used
        (Budget(tokens=100), UsageTotals(input=99), UsageTotals(runs=1, input=99), 0, False),
        # 40 are used, and a run takes 20: with two in progress a third one fits, with three a fourth one does not
        (Budget(tokens=100), UsageTotals(input=40), UsageTotals(runs=5, input=100), 2, False),
        (Budget(tokens=100), UsageTotals(input=40), UsageTotals(runs=5, input=100), 3, True),
        (Budget(cost=1.0), UsageTotals(cost=0.4), UsageTotals(runs=5, cost=1.0), 2, False),
        (Budget(cost=1.0), UsageTotals(cost=0.4), UsageTotals(runs=5, cost=1.0), 3, True),
        # nobody knows how much a run uses
        (Budget(tokens=100), UsageTotals(), UsageTotals(), 1, False),
        (Budget(cost=1.0), UsageTotals(), UsageTotals(), 1, True),
        (Budget(runs=5), UsageTotals(runs=4), UsageTotals(), 4, False),
    ],
)
def test_a_run_waits_for_runs_in_progress_that_may_use_up_the_budget(
    limits: Budget, used: UsageTotals, recent: UsageTotals, at_work: int, waits: bool
) -> None:
    assert budget.must_wait(limits, used, recent, at_work) is waits


def test_a_refusal_names_the_limit_the_usage_and_the_reset_time() -> None:
    found = budget.find_reached_limit(Budget(tokens=10_000), UsageTotals(input=10_200, output=40))
    assert found is not None

    assert budget.describe_refusal("agent 'main'", found, at("2026-11-22T00:00:00+00:00")) == (
        "the agent 'main' is over its budget: 10,240 of 10,000 tokens are used today."
        " The budget resets at 2026-11-22T00:00:00.000Z."
    )


def test_a_refusal_for_an_unknown_cost_says_what_to_do() -> None:
    found = budget.find_reached_limit(Budget(cost=1.0), UsageTotals(runs=1, unpriced=1))
    assert found is not None

    assert "limit runs or tokens instead" in budget.describe_refusal("agent 'main'", found, 0)


def test_a_refusal_for_unknown_tokens_says_what_to_do() -> None:
    found = budget.find_reached_limit(Budget(tokens=10), UsageTotals(runs=1, uncounted=1))
    assert found is not None

    assert "limit runs instead" in budget.describe_refusal("agent 'main'", found, 0)


@pytest.mark.parametrize(
    ("usage", "succeeded", "is_unknown"),
    [(Usage(), True, True), (Usage(cost=0.5), True, True), (Usage(output=1), True, False), (Usage(), False, False)],
)
def test_the_tokens_are_unknown_when_an_answer_comes_without_any(
    usage: Usage, succeeded: bool, is_unknown: bool
) -> None:
    assert budget.is_uncounted(usage, succeeded) is is_unknown


def test_the_remaining_budget_is_never_negative() -> None:
    limits = Budget(runs=5, tokens=100, cost=1.0)

    assert budget.calculate_remaining(limits, UsageTotals(runs=2, input=30, cost=0.25)) == Budget(
        runs=3, tokens=70, cost=0.75
    )
    assert budget.calculate_remaining(limits, UsageTotals(runs=9, input=900, cost=9.0)) == Budget(
        runs=0, tokens=0, cost=0.0
    )
    assert budget.calculate_remaining(Budget(runs=5), UsageTotals(input=30)) == Budget(runs=5)


@pytest.mark.parametrize("given", ['{"runs": 0}', '{"tokens": -1}', '{"cost": 0}', '{"tokens": 1.5}', '{"dollars": 1}'])
def test_an_invalid_limit_is_refused(given: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(given, type=Budget)


# --- days -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "moment", "day", "begin", "hours"),
    [
        ("UTC", "2026-11-21T23:59:59.999+00:00", "2026-11-21", "2026-11-21 00:00", 24),
        ("Europe/Berlin", "2026-11-21T23:30:00+00:00", "2026-11-22", "2026-11-21 23:00", 24),
        ("Europe/Berlin", "2026-03-29T12:00:00+00:00", "2026-03-29", "2026-03-28 23:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00:00+00:00", "2026-10-25", "2026-10-24 22:00", 25),
        # the clocks skip midnight: the day starts at 1:00
        ("Africa/Cairo", "2024-04-26T12:00:00+00:00", "2024-04-26", "2024-04-25 22:00", 23),
        # the clocks go back at midnight to 23:00: the day before has 25 hours
        ("America/Sao_Paulo", "2018-02-17T12:00:00+00:00", "2018-02-17", "2018-02-17 02:00", 25),
        # midnight comes twice: the first one counts
        ("America/Havana", "2026-11-01T12:00:00+00:00", "2026-11-01", "2026-11-01 04:00", 25),
        ("Australia/Lord_Howe", "2026-04-05T12:00:00+00:00", "2026-04-05", "2026-04-04 13:00", 24.5),
    ],
)
def test_a_day_lasts_from_midnight_to_midnight(zone: str, moment: str, day: str, begin: str, hours: float) -> None:
    days, now = CalendarDays(zone), at(moment)

    assert (days.day_of(now), shown(days.day_start(now))) == (day, begin)
    assert days.day_end(now) - days.day_start(now) == hours * HOUR
    assert (days.day_of(days.day_start(now)), days.day_of(days.day_end(now) - 1)) == (day, day)
    assert days.day_of(days.day_start(now) - 1) < day < days.day_of(days.day_end(now))


def test_earlier_days_are_counted_backwards() -> None:
    assert CalendarDays().day_before(at("2026-03-02T10:00:00+00:00"), 6) == "2026-02-24"


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no time zone 'Mars/Base'"):
        CalendarDays("Mars/Base")
