"""Budgets: how much an agent or a schedule may use in a day, and the arithmetic of usage."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from gateway.domain import cron, times
from gateway.domain.event import Usage

#: days of runs, today included, from which the average usage of a run is computed
RUN_AVERAGE_DAYS = 7


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Daily limits. A number that is not set is no limit."""

    #: runs that start
    runs: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    #: tokens, input and output together
    tokens: Annotated[int, Meta(ge=1, le=10**15)] | None = None
    #: US dollars, as the backend reports them
    cost: Annotated[float, Meta(gt=0, le=10**9)] | None = None


class UsageTotals(Struct, frozen=True, kw_only=True):
    """What was used in a period of time."""

    #: runs that started
    runs: int = 0
    #: input tokens
    input: int = 0
    #: output tokens
    output: int = 0
    #: of the input tokens, those that came from a cache
    cached: int = 0
    #: in US dollars
    cost: float = 0.0
    #: runs whose cost is not known
    unpriced: int = 0
    #: runs whose tokens are not known
    uncounted: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input + self.output


class ReachedLimit(Struct, frozen=True, kw_only=True):
    """A limit of a budget that has been reached."""

    #: `runs`, `tokens` or `cost`
    limit: str
    #: what was used of what is allowed, such as `3 of 3 runs`; empty if it is not known what was used today
    amounts: str


class CalendarDays:
    """The calendar days of a time zone: from midnight to midnight, even when that is not 24 hours."""

    def __init__(self, zone: str = "UTC") -> None:
        """Raises:
        InvalidRequest: there is no time zone of this name.
        """
        self.zone = zone
        self._time_zone = cron.find_time_zone(zone)
        #: the last day that was asked for, with its first moment and that of the next day: mostly it is today
        self._last_day = (0, 0, "")

    def day_of(self, moment: int) -> str:
        """Return the day of a moment, such as `2026-11-21`."""
        start, end, day = self._last_day
        if not start <= moment < end:
            day = self._local_date(moment).isoformat()
            self._last_day = (self.day_start(moment), self.day_end(moment), day)
        return day

    def day_start(self, moment: int) -> int:
        """Return the first moment of the day that a moment is in."""
        return self._find_midnight(self._local_date(moment))

    def day_end(self, moment: int) -> int:
        """Return the first moment of the day after."""
        return self._find_midnight(self._local_date(moment) + timedelta(days=1))

    def day_before(self, moment: int, days: int) -> str:
        """Return the day that is a number of days earlier."""
        return (self._local_date(moment) - timedelta(days=days)).isoformat()

    def _local_date(self, moment: int) -> date:
        return datetime.fromtimestamp(moment / 1000, self._time_zone).date()

    def _find_midnight(self, day: date) -> int:
        # Where the clocks skip midnight, this is the moment of the change; where midnight comes twice, the first one.
        return times.to_milliseconds(datetime(day.year, day.month, day.day, tzinfo=self._time_zone))


def is_unpriced(usage: Usage, succeeded: bool) -> bool:
    """Return whether the cost of a run is unknown: it has tokens but no cost, or succeeded and reported no usage."""
    return usage.cost <= 0 and (succeeded or usage.input + usage.output > 0)


def is_uncounted(usage: Usage, succeeded: bool) -> bool:
    """Return whether the tokens of a run are unknown: it succeeded and reported none."""
    return succeeded and usage.input + usage.output <= 0


def find_unknown_limits(budget: Budget, used: UsageTotals) -> tuple[str, ...]:
    """Return the names of the limits of which it is not known how much was used today."""
    tokens = ("tokens",) if budget.tokens is not None and used.uncounted else ()
    cost = ("cost",) if budget.cost is not None and used.unpriced else ()
    return (*tokens, *cost)


def find_reached_limit(budget: Budget, used: UsageTotals) -> ReachedLimit | None:
    """Return the limit that today's usage has reached, or None.

    Args:
        used: today's usage, including the runs that are in progress.
    """
    if budget.runs is not None and used.runs >= budget.runs:
        return ReachedLimit(limit="runs", amounts=f"{used.runs:,} of {budget.runs:,} runs")
    if budget.tokens is not None and used.total_tokens >= budget.tokens:
        return ReachedLimit(limit="tokens", amounts=f"{used.total_tokens:,} of {budget.tokens:,} tokens")
    if budget.cost is not None and _round_dollars(used.cost) >= budget.cost:
        return ReachedLimit(limit="cost", amounts=f"${_round_dollars(used.cost):,.4f} of ${budget.cost:,.2f}")
    unknown = find_unknown_limits(budget, used)
    return ReachedLimit(limit=unknown[0], amounts="") if unknown else None


#: by limit: what agents report for it, its name, and the limits that hold without that
_UNKNOWN_LIMITS = {"tokens": ("tokens", "token", "runs"), "cost": ("cost", "cost", "runs or tokens")}


def must_wait(budget: Budget, used: UsageTotals, recent: UsageTotals, at_work: int) -> bool:
    """Return whether the next run must wait, because the runs in progress may use up the budget.

    Each run in progress is assumed to use as much as a recent run did on average. With a cost limit, the very
    first run goes alone: it shows whether the backend reports costs.
    """
    if at_work == 0:
        return False
    if recent.runs == 0:
        return budget.cost is not None
    share = at_work / recent.runs
    if budget.tokens is not None and used.total_tokens + recent.total_tokens * share >= budget.tokens:
        return True
    return budget.cost is not None and _round_dollars(used.cost + recent.cost * share) >= budget.cost


def describe_refusal(whose: str, found: ReachedLimit, resets_at: int) -> str:
    """Return the error message for a run that is refused because of a budget."""
    reset = times.format_rfc3339(resets_at)
    if not found.amounts:
        what, limit, others = _UNKNOWN_LIMITS[found.limit]
        return (
            f"the {whose} has a {limit} limit, but a run of today reported no {what}, so the rest of the budget is"
            f" unknown. The budget resets at {reset}; if the agent never reports {what}, limit {others} instead."
        )
    return f"the {whose} is over its budget: {found.amounts} are used today. The budget resets at {reset}."


def describe_wait(whose: str, at_work: int, resets_at: int) -> str:
    """Return why a run waits for the runs in progress; see `must_wait`."""
    return (
        f"the runs in progress ({at_work} now) may use up the budget of the {whose}:"
        f" this run starts if they leave enough, and fails as over_budget otherwise; the budget resets at"
        f" {times.format_rfc3339(resets_at)}"
    )


def calculate_remaining(budget: Budget, used: UsageTotals) -> Budget:
    """Return what is left of each limit of a budget."""
    return Budget(
        runs=None if budget.runs is None else max(budget.runs - used.runs, 0),
        tokens=None if budget.tokens is None else max(budget.tokens - used.total_tokens, 0),
        cost=None if budget.cost is None else max(_round_dollars(budget.cost - used.cost), 0.0),
    )


def _round_dollars(cost: float) -> float:
    """Return a sum without the rounding errors of binary fractions."""
    return round(cost, 9)


class UsageGrouping(StrEnum):
    """What usage is grouped by."""

    DAY = "day"
    AGENT = "agent"
    SCHEDULE = "schedule"


class UsageGroup(Struct, frozen=True, kw_only=True):
    """The usage of one day, agent or schedule."""

    #: the day, or the id of the agent or the schedule
    name: str
    totals: UsageTotals
