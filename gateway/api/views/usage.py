"""What clients see of usage and budgets."""

from __future__ import annotations

from msgspec import Struct

from gateway.domain.budget import Budget
from gateway.domain.run import Run


class UsageNumbers(Struct, frozen=True, kw_only=True):
    """What a run used; numbers that are not known are 0."""

    #: input tokens
    input: int
    #: output tokens, including reasoning
    output: int
    #: of the input tokens, those that came from a cache
    cached: int
    #: in US dollars, as the backend reports it; 0 when it reports none
    cost: float


class UsageShown(UsageNumbers, frozen=True, kw_only=True):
    """What a run used; numbers that are not known are 0, and the flags say so."""

    #: false if the task worked and has ended, and its agent reported no tokens
    tokens_known: bool
    #: false if the task worked and has ended, and its agent reported no cost
    cost_known: bool


def render_usage(of: Run) -> UsageShown:
    used = of.usage
    return UsageShown(
        input=used.input,
        output=used.output,
        cached=used.cached,
        cost=used.cost,
        tokens_known=of.knows_tokens,
        cost_known=of.knows_cost,
    )


class BudgetShown(Struct, frozen=True, kw_only=True):
    """Limits a day; null means no limit."""

    #: runs that start
    runs: int | None
    #: tokens read and written
    tokens: int | None
    #: in US dollars
    cost: float | None


def render_budget(of: Budget) -> BudgetShown:
    return BudgetShown(runs=of.runs, tokens=of.tokens, cost=of.cost)
