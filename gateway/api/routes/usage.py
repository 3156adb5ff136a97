"""Usage: what agents have used, and what is left of budgets."""

from __future__ import annotations

from datetime import date

from msgspec import Struct

from gateway.api import fields, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.budget import By, Used
from gateway.domain.token import Scope
from gateway.engine.resources.usage import Account

ROUTES = Routes("usage")


class WhichUsage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What use to tell."""

    by: By = By.DAY
    #: the first day, such as 2026-11-21; 30 days when left out
    since: date | None = None
    #: the last day; today when left out
    until: date | None = None
    #: id or slug of the only agent to tell of
    agent: fields.AgentName | None = None


class UseShown(Struct, frozen=True, kw_only=True):
    """What was used on a day, by an agent or for a schedule."""

    #: the day, or the id of the agent or schedule
    name: str
    #: what else the agent is called
    slug: str | None
    #: runs that began
    runs: int
    input: int
    output: int
    #: of the tokens read, those that came from a cache
    cached: int
    #: in US dollars
    cost: float
    #: runs of which no cost was told
    unpriced: int


class BudgetState(Struct, frozen=True, kw_only=True):
    """A budget, and how it stands today."""

    #: agent or schedule
    of: str
    #: id of the agent or schedule
    id: str
    #: what people call it
    name: str
    limits: views.BudgetShown
    used: views.BudgetShown
    left: views.BudgetShown
    #: whether a further run would be refused
    over: bool


class UsageReport(Struct, frozen=True, kw_only=True):
    #: day, agent or schedule
    by: str
    #: whose days these are
    timezone: str
    since: str
    until: str
    #: by day the oldest first, else those that used the most tokens first
    usage: list[UseShown]
    #: all that there are of agents, and those of the newest 200 schedules that have one
    budgets: list[BudgetState]
    #: when budgets begin anew
    resets_at: str


@ROUTES.add("GET", "/api/usage", scope=Scope.READ, query=WhichUsage, answer=UsageReport)
async def usage(call: Call[Nothing, WhichUsage]) -> UsageReport:
    """Tell what was used, by day, agent or schedule, and what is left of budgets today."""
    asked = call.query
    found = await call.engine.spending.report(asked.by, asked.since, asked.until, asked.agent)
    return UsageReport(
        by=asked.by,
        timezone=found.zone,
        since=found.since,
        until=found.until,
        usage=[_use(call, one, asked.by) for one in found.used],
        budgets=[_budget(one) for one in found.accounts],
        resets_at=times.rfc3339(found.begins_anew),
    )


def _use(call: Call[Nothing, WhichUsage], of: Used, by: By) -> UseShown:
    spent = of.spent
    return UseShown(
        name=of.name,
        slug=call.engine.agents.called(of.name) if by is By.AGENT else None,
        runs=spent.runs,
        input=spent.input,
        output=spent.output,
        cached=spent.cached,
        cost=round(spent.cost, 9),
        unpriced=spent.unpriced,
    )


def _budget(of: Account) -> BudgetState:
    limits, used = of.limits, of.used
    return BudgetState(
        of=of.of,
        id=of.id,
        name=of.name,
        limits=views.budget(limits),
        used=views.BudgetShown(runs=used.runs, tokens=used.tokens, cost=round(used.cost, 9)),
        left=views.budget(of.left),
        over=of.over,
    )
