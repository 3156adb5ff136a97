"""Usage: what agents and schedules have used, and what is left of their budgets."""

from __future__ import annotations

from datetime import date

from msgspec import Struct

from gateway.api import fields, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.budget import UsageGroup, UsageGrouping
from gateway.domain.token import Scope
from gateway.engine.resources.usage import BudgetStatus

ROUTES = Routes("usage")


class WhichUsage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which usage to show."""

    #: what a row of the answer stands for
    by: UsageGrouping = UsageGrouping.DAY
    #: the first day, such as 2026-11-21; when left out, the last 30 days are shown
    since: date | None = None
    #: the last day; today when left out
    until: date | None = None
    #: id or slug of an agent; when left out, all agents
    agent: fields.AgentName | None = None


class UseShown(Struct, frozen=True, kw_only=True):
    """The usage of one day, one agent or one schedule."""

    #: the day, or the id of the agent or schedule
    name: str
    #: slug of the agent
    slug: str | None
    #: runs that started
    runs: int
    #: input tokens
    input: int
    #: output tokens, including reasoning
    output: int
    #: input tokens that came from a cache
    cached: int
    #: in US dollars
    cost: float
    #: runs whose cost is not known
    unpriced: int
    #: runs whose tokens are not known
    uncounted: int


class BudgetState(Struct, frozen=True, kw_only=True):
    """A budget and what is left of it today."""

    #: agent or schedule
    of: str
    #: id of the agent or schedule
    id: str
    #: its name for people
    name: str
    #: what may be used in a day
    limits: views.BudgetShown
    #: what is used today
    used: views.BudgetShown
    #: what is left today
    left: views.BudgetShown
    #: limits of which it is not known how much was used today, or that can never hold: `tokens`, `cost`
    unknown: list[str]
    #: whether the next run would be refused
    over: bool


class UsageReport(Struct, frozen=True, kw_only=True):
    #: day, agent or schedule
    by: str
    #: the time zone of the days
    timezone: str
    #: the first day
    since: str
    #: the last day
    until: str
    #: by day: the oldest first; else the ones with the most tokens first
    usage: list[UseShown]
    #: the budgets of all agents, and of the newest 200 schedules that have one
    budgets: list[BudgetState]
    #: when budgets are reset
    resets_at: str


@ROUTES.add("GET", "/api/usage", scope=Scope.READ, query=WhichUsage, answer=UsageReport)
async def usage(call: Call[Nothing, WhichUsage]) -> UsageReport:
    """Show what was used by day, agent or schedule, and what is left of budgets today."""
    asked = call.query
    found = await call.engine.usage.report_usage(asked.by, asked.since, asked.until, asked.agent)
    return UsageReport(
        by=asked.by,
        timezone=found.zone,
        since=found.since,
        until=found.until,
        usage=[_render_use(call, one, asked.by) for one in found.used],
        budgets=[_render_budget_state(one) for one in found.budgets],
        resets_at=times.format_rfc3339(found.day_ends_at),
    )


def _render_use(call: Call[Nothing, WhichUsage], of: UsageGroup, by: UsageGrouping) -> UseShown:
    spent = of.totals
    return UseShown(
        name=of.name,
        slug=call.engine.agents.display_name(of.name) if by is UsageGrouping.AGENT else None,
        runs=spent.runs,
        input=spent.input,
        output=spent.output,
        cached=spent.cached,
        cost=round(spent.cost, 9),
        unpriced=spent.unpriced,
        uncounted=spent.uncounted,
    )


def _render_budget_state(of: BudgetStatus) -> BudgetState:
    limits, used = of.limits, of.used
    return BudgetState(
        of=of.owner_kind,
        id=of.id,
        name=of.name,
        limits=views.render_budget(limits),
        used=views.BudgetShown(runs=used.runs, tokens=used.total_tokens, cost=round(used.cost, 9)),
        left=views.render_budget(of.left),
        unknown=list(of.unknown),
        over=of.is_exhausted,
    )
