"""Finds limits of budgets that can never hold, because the agent does not report what they limit."""

from __future__ import annotations

from collections.abc import Iterable

from gateway import backends
from gateway.domain.agent import Agent
from gateway.domain.budget import Budget

#: by limit: what the agent does not report, and the limits that hold without that
_LIMITS = {"tokens": ("tokens", "runs"), "cost": ("costs", "runs or tokens")}


def describe_idle_limit(whose: str, limit: str) -> str:
    """Return why a limit of a budget cannot hold, and what does."""
    what, others = _LIMITS[limit]
    return f"the {limit} limit of {whose} cannot hold: its agent does not report {what}; limit {others} instead"


def find_idle_limits(agents: Iterable[Agent]) -> list[str]:
    """Return a sentence about each limit of an enabled agent that can never hold."""
    return [
        describe_idle_limit(f"the agent {agent.id!r}", limit)
        for agent in agents
        if agent.enabled
        for limit in backends.describe_agent(agent).find_idle_limits(agent.budget or Budget())
    ]
