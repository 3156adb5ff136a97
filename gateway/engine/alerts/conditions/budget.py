"""80 % or all of a daily budget is used; it ends with the day, or when the budget is raised."""

from __future__ import annotations

from gateway.domain.alert import AlertKind
from gateway.domain.budget import Budget, UsageTotals
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation
from gateway.engine.resources.usage import BudgetStatus

#: percent of a budget at which its use is told
WARNING_PERCENT, EXHAUSTED_PERCENT = 80, 100
#: more than a level of one day
_LEVELS_PER_DAY = 1_000


class BudgetUsed:
    kind = AlertKind.BUDGET
    interval_seconds = 30.0
    needs_news = False

    def __init__(self, sources: AlertSources) -> None:
        self._usage = sources.usage

    async def look(self, situation: Situation) -> Look:
        # With the day in it, the level grows with each new day: the budget of today is told, whatever yesterday was.
        day = self._usage.number_of_today() * _LEVELS_PER_DAY
        findings = {}
        for status in await self._usage.list_budgets():
            level = EXHAUSTED_PERCENT if status.is_exhausted else compute_used_percent(status.limits, status.used)
            if level >= WARNING_PERCENT:
                finding = _describe_budget(status, level >= EXHAUSTED_PERCENT, day)
                findings[finding.subject] = finding
        ended = {
            subject: f"the budget of {subject.replace(':', ' ')} has room again"
            for subject in situation.open
            if subject not in findings
        }
        return Look(open=list(findings.values()), ended=ended)


def compute_used_percent(limits: Budget, used: UsageTotals) -> float:
    """Return how much of a budget is used, by the limit of which the least is left."""
    shares = [
        100 * part / limit
        for part, limit in (
            (used.runs, limits.runs),
            (used.total_tokens, limits.tokens),
            (used.cost, limits.cost),
        )
        if limit
    ]
    return max(shares, default=0.0)


def _describe_budget(status: BudgetStatus, is_used_up: bool, day: int) -> Finding:
    owner = f"{status.owner_kind} {status.name or status.id}"
    amounts = [
        text
        for limit, text in (
            (status.limits.runs, f"{status.used.runs:,} of {status.limits.runs or 0:,} runs"),
            (status.limits.tokens, f"{status.used.total_tokens:,} of {status.limits.tokens or 0:,} tokens"),
            (status.limits.cost, f"${status.used.cost:,.2f} of ${status.limits.cost or 0:,.2f}"),
        )
        if limit
    ]
    what = "is used up" if is_used_up else f"is used to {WARNING_PERCENT} %"
    return Finding(
        subject=f"{status.owner_kind}:{status.id}",
        text=f"the budget of {owner} {what} today: {', '.join(amounts)}",
        level=day + (EXHAUSTED_PERCENT if is_used_up else WARNING_PERCENT),
        agent=status.agent,
    )


CONDITION = BudgetUsed
