"""Budgets: how much an agent or a schedule may use in a day, and the arithmetic of it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from gateway.domain import cron, times
from gateway.domain.event import Usage

#: days whose runs show what a run takes, today included
SHOWN_BY = 7


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What may be used in a day; without a number there is no limit."""

    #: runs that begin
    runs: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    #: tokens, read and written
    tokens: Annotated[int, Meta(ge=1, le=10**15)] | None = None
    #: US dollars, as the backend reckons them
    cost: Annotated[float, Meta(gt=0, le=10**9)] | None = None


class Spent(Struct, frozen=True, kw_only=True):
    """What was used in some time."""

    #: runs that began
    runs: int = 0
    #: tokens read by models
    input: int = 0
    #: tokens written by models
    output: int = 0
    #: of the tokens read, those that came from a cache
    cached: int = 0
    #: in US dollars
    cost: float = 0.0
    #: runs of which no cost was told
    unpriced: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.output


class Excess(Struct, frozen=True, kw_only=True):
    """The limit that is reached."""

    #: `runs`, `tokens` or `cost`
    limit: str
    #: how much of how much
    told: str


class Days:
    """The days of a zone, from midnight to midnight, however many hours that are."""

    def __init__(self, zone: str = "UTC") -> None:
        """Raises:
        InvalidRequest: there is no such zone.
        """
        self.zone = zone
        self._info = cron.zone(zone)

    def of(self, moment: int) -> str:
        """Return the day that a moment is in, as `2026-11-21`."""
        return self._date(moment).isoformat()

    def begin(self, moment: int) -> int:
        """Return the first moment of that day."""
        return self._midnight(self._date(moment))

    def end(self, moment: int) -> int:
        """Return the first moment of the next one."""
        return self._midnight(self._date(moment) + timedelta(days=1))

    def before(self, moment: int, days: int) -> str:
        """Return the day so many days earlier."""
        return (self._date(moment) - timedelta(days=days)).isoformat()

    def _date(self, moment: int) -> date:
        return datetime.fromtimestamp(moment / 1000, self._info).date()

    def _midnight(self, day: date) -> int:
        # Where clocks skip midnight, this is the moment at which they do; where it comes twice, the first.
        return times.milliseconds(datetime(day.year, day.month, day.day, tzinfo=self._info))


def unpriced(usage: Usage, succeeded: bool) -> bool:
    """Tell whether nobody knows what a run has cost: tokens without a price, or an answer of which nothing was told."""
    return usage.cost <= 0 and (succeeded or usage.input + usage.output > 0)


def excess(budget: Budget, used: Spent) -> Excess | None:
    """Return the limit that today's use has reached, if there is one.

    Args:
        used: with the runs that are at work.
    """
    if budget.runs is not None and used.runs >= budget.runs:
        return Excess(limit="runs", told=f"{used.runs:,} of {budget.runs:,} runs")
    if budget.tokens is not None and used.tokens >= budget.tokens:
        return Excess(limit="tokens", told=f"{used.tokens:,} of {budget.tokens:,} tokens")
    if budget.cost is not None and _dollars(used.cost) >= budget.cost:
        return Excess(limit="cost", told=f"${_dollars(used.cost):,.4f} of ${budget.cost:,.2f}")
    if budget.cost is not None and used.unpriced:
        return Excess(limit="cost", told="")
    return None


def must_wait(budget: Budget, used: Spent, recent: Spent, at_work: int) -> bool:
    """Tell whether what is at work may use up the budget, so that the next run has to see what becomes of it.

    Each run at work is taken to use what a run used on average of late. With a limit of cost, the very first
    run goes alone: it shows whether the backend tells what it costs.
    """
    if at_work == 0:
        return False
    if recent.runs == 0:
        return budget.cost is not None
    share = at_work / recent.runs
    if budget.tokens is not None and used.tokens + recent.tokens * share >= budget.tokens:
        return True
    return budget.cost is not None and _dollars(used.cost + recent.cost * share) >= budget.cost


def refusal(whose: str, found: Excess, begins_anew: int) -> str:
    """Return what the author of a refused run is told.

    Args:
        whose: such as `agent 'main'`.
        begins_anew: when the budget does, in milliseconds since 1970 UTC.
    """
    anew = times.rfc3339(begins_anew)
    if not found.told:
        return (
            f"the {whose} has a limit of cost, and of a run today no cost was told: what is left is not known."
            f" The budget begins anew at {anew}; where the backend tells no cost, limit runs or tokens instead."
        )
    return f"the {whose} is over its budget: {found.told} are used today. It begins anew at {anew}."


def waiting(whose: str, at_work: int, begins_anew: int) -> str:
    """Return what a run waits for that has to see what those at work leave; see `must_wait`."""
    return (
        f"the budget of the {whose} may be used up by what is at work ({at_work} now):"
        f" it begins if they leave enough, or ends as over_budget; the budget begins anew at"
        f" {times.rfc3339(begins_anew)}"
    )


def left(budget: Budget, used: Spent) -> Budget:
    """Return what is left of each limit."""
    return Budget(
        runs=None if budget.runs is None else max(budget.runs - used.runs, 0),
        tokens=None if budget.tokens is None else max(budget.tokens - used.tokens, 0),
        cost=None if budget.cost is None else max(_dollars(budget.cost - used.cost), 0.0),
    )


def _dollars(cost: float) -> float:
    """Return a sum without what binary fractions add to it."""
    return round(cost, 9)


class By(StrEnum):
    """What use is told by."""

    DAY = "day"
    AGENT = "agent"
    SCHEDULE = "schedule"


class Used(Struct, frozen=True, kw_only=True):
    """What was used on a day, by an agent or for a schedule."""

    #: the day, or the id of the agent or schedule
    name: str
    spent: Spent
