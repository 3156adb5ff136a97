"""Usage reports, as clients see them: what was used, and what is left of budgets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from msgspec import Struct

from gateway.domain import budget
from gateway.domain.budget import Budget, CalendarDays, UsageGroup, UsageGrouping, UsageTotals
from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Agents
from gateway.engine.resources.schedules import find_agent_name
from gateway.errors import AgentNotFound, InvalidRequest

#: days that a report covers if it has no first day
DEFAULT_REPORT_DAYS = 30
#: maximum number of schedules whose budgets are in a report
MAX_REPORTED_SCHEDULES = 200


class BudgetStatus(Struct, frozen=True, kw_only=True):
    """A budget, and what is left of it today."""

    #: id of the agent or schedule that has the budget
    id: str
    #: whether that is an agent or a schedule
    owner_kind: UsageGrouping
    #: its name, for people
    name: str
    #: id of the agent whose runs count; None if a schedule names none that is there
    agent: str | None
    limits: Budget
    #: used today, including running runs
    used: UsageTotals
    left: Budget
    #: limits of which it is not known how much was used today, or that can never hold: `tokens`, `cost`
    unknown: tuple[str, ...]
    #: whether another run would be refused
    is_exhausted: bool


class UsageReport(Struct, frozen=True, kw_only=True):
    """What was used from one day to another, both included."""

    since: str
    until: str
    zone: str
    #: when today ends, in milliseconds since 1970 UTC
    day_ends_at: int
    used: Sequence[UsageGroup]
    budgets: Sequence[BudgetStatus]


class UsageReporter:
    """Makes usage reports."""

    def __init__(self, store: Store, agents: Agents, days: CalendarDays, clock: Clock) -> None:
        self._store = store
        self._agents = agents
        self._days = days
        self._clock = clock

    async def report_usage(
        self, by: UsageGrouping, since: date | None = None, until: date | None = None, agent: str | None = None
    ) -> UsageReport:
        """Return what was used, by day, agent or schedule.

        Args:
            until: the last day; today if not given.
            agent: id or slug of the only agent to report; the id of a deleted agent works, too.

        Raises:
            InvalidRequest: the last day is before the first.
        """
        now = self._clock()
        last = until or date.fromisoformat(self._days.day_of(now))
        first = since or last - timedelta(days=min(DEFAULT_REPORT_DAYS, last.toordinal()) - 1)
        if first > last:
            raise InvalidRequest(f"since: {first} is later than {last}, the last day of the report.")
        named = None if agent is None else self._agents.find_by_name(agent)
        only = agent if named is None else named.id
        return UsageReport(
            since=first.isoformat(),
            until=last.isoformat(),
            zone=self._days.zone,
            day_ends_at=self._days.day_end(now),
            used=await self._store.usage.sum_days(by, first.isoformat(), last.isoformat(), only),
            budgets=await self.list_budgets(only),
        )

    def number_of_today(self) -> int:
        """Return the number of the day that budgets count now: each day has a greater one than the day before."""
        return date.fromisoformat(self._days.day_of(self._clock())).toordinal()

    async def list_budgets(self, only: str | None = None) -> list[BudgetStatus]:
        """Return all budgets, with what is left of them today.

        Args:
            only: id of the only agent whose budgets, and those of its schedules, are wanted.
        """
        return [*await self._list_agent_budgets(only), *await self._list_schedule_budgets(only)]

    async def _list_agent_budgets(self, only: str | None) -> list[BudgetStatus]:
        return [
            await self._read_budget_status(UsageGrouping.AGENT, id_, self._agents.display_name(id_), limits, id_)
            for id_, limits in self._agents.daily_budgets.items()
            if only in (None, id_)
        ]

    async def _list_schedule_budgets(self, only: str | None) -> list[BudgetStatus]:
        found = await self._store.schedules.list_budgeted(MAX_REPORTED_SCHEDULES)
        return [
            await self._read_budget_status(UsageGrouping.SCHEDULE, one.id, one.spec.name, one.spec.budget, agent)
            for one, agent in [(each, self._find_agent_id(find_agent_name(self._agents, each.spec))) for each in found]
            if one.spec.budget is not None and (only is None or agent == only)
        ]

    async def _read_budget_status(
        self, of: UsageGrouping, id_: str, name: str, limits: Budget, agent_id: str | None
    ) -> BudgetStatus:
        used = await self._store.usage.sum_today(of, id_)
        agent = None if agent_id is None else self._agents.find_by_id(agent_id)
        idle = () if agent is None else self._agents.describe_agent(agent).find_idle_limits(limits)
        return BudgetStatus(
            id=id_,
            owner_kind=of,
            name=name,
            agent=agent_id,
            limits=limits,
            used=used,
            left=budget.calculate_remaining(limits, used),
            unknown=tuple(sorted({*idle, *budget.find_unknown_limits(limits, used)}, reverse=True)),
            is_exhausted=budget.find_reached_limit(limits, used) is not None,
        )

    def _find_agent_id(self, name: str | None) -> str | None:
        """Return the id of the agent that a schedule names, or None if there is none now."""
        try:
            return self._agents.choose_agent(name).id
        except (AgentNotFound, InvalidRequest):
            return None
