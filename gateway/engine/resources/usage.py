"""Usage reports, as clients see them: what was used, and what is left of budgets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from msgspec import Struct

from gateway.domain import budget
from gateway.domain.budget import Budget, By, Days, Spent, Used
from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Roster
from gateway.errors import AgentNotFound, InvalidRequest

#: days that a report covers if it has no first day
COVERED = 30
#: maximum number of schedules whose budgets are in a report
SCHEDULES = 200


class Account(Struct, frozen=True, kw_only=True):
    """A budget, and what is left of it today."""

    #: id of the agent or schedule that has the budget
    id: str
    #: whether that is an agent or a schedule
    of: By
    #: its name, for people
    name: str
    limits: Budget
    #: used today, including running runs
    used: Spent
    left: Budget
    #: whether another run would be refused
    over: bool


class Report(Struct, frozen=True, kw_only=True):
    """What was used from one day to another, both included."""

    since: str
    until: str
    zone: str
    #: when today ends, in milliseconds since 1970 UTC
    begins_anew: int
    used: Sequence[Used]
    accounts: Sequence[Account]


class Spending:
    """Makes usage reports."""

    def __init__(self, store: Store, agents: Roster, days: Days, clock: Clock) -> None:
        self._store = store
        self._agents = agents
        self._days = days
        self._clock = clock

    async def report(
        self, by: By, since: date | None = None, until: date | None = None, agent: str | None = None
    ) -> Report:
        """Return what was used, by day, agent or schedule.

        Args:
            until: the last day; today if not given.
            agent: id or slug of the only agent to report; the id of a deleted agent works, too.

        Raises:
            InvalidRequest: the last day is before the first.
        """
        now = self._clock()
        last = until or date.fromisoformat(self._days.of(now))
        first = since or last - timedelta(days=min(COVERED, last.toordinal()) - 1)
        if first > last:
            raise InvalidRequest(f"since: {first} is later than {last}, the last day of the report.")
        named = None if agent is None else self._agents.named(agent)
        only = agent if named is None else named.id
        return Report(
            since=first.isoformat(),
            until=last.isoformat(),
            zone=self._days.zone,
            begins_anew=self._days.end(now),
            used=await self._store.usage.sum_days(by, first.isoformat(), last.isoformat(), only),
            accounts=[*await self._of_agents(only), *await self._of_schedules(only)],
        )

    async def _of_agents(self, only: str | None) -> list[Account]:
        return [
            await self._account(By.AGENT, id_, self._agents.called(id_), limits)
            for id_, limits in self._agents.budgets.items()
            if only in (None, id_)
        ]

    async def _of_schedules(self, only: str | None) -> list[Account]:
        found = await self._store.schedules.list_budgeted(SCHEDULES)
        return [
            await self._account(By.SCHEDULE, one.id, one.spec.name, one.spec.budget)
            for one in found
            if one.spec.budget is not None and (only is None or self._agent(one.spec.agent) == only)
        ]

    async def _account(self, of: By, id_: str, name: str, limits: Budget) -> Account:
        used = await self._store.usage.sum_today(of, id_)
        return Account(
            id=id_,
            of=of,
            name=name,
            limits=limits,
            used=used,
            left=budget.left(limits, used),
            over=budget.excess(limits, used) is not None,
        )

    def _agent(self, name: str | None) -> str | None:
        """Return the id of the agent that a schedule names, or None if there is none now."""
        try:
            return self._agents.choose(name).id
        except (AgentNotFound, InvalidRequest):
            return None
