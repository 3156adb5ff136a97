"""What clients see of an agent."""

from __future__ import annotations

from msgspec import Struct

from gateway.api.views.time import render_time
from gateway.api.views.usage import BudgetShown, render_budget
from gateway.domain.budget import Budget
from gateway.engine.resources.agents import AgentView


class AgentShown(Struct, frozen=True, kw_only=True):
    """An agent and its state."""

    #: its id; for an agent of the config file, the one that it has there
    id: str
    #: another name that requests may use; for an agent of the config file, its id
    slug: str
    #: the name that people see
    name: str
    #: id of the agent that it builds on; null for an agent of the config file
    base: str | None
    #: what drives it, such as opencode or openai
    backend: str
    #: the model; null leaves the choice to the backend
    model: str | None
    system_prompt: str | None
    #: idle, working or disabled
    status: str
    #: its running runs
    current_tasks: int
    #: its queued runs
    queued: int
    #: slots taken by assigned tasks, queued or running
    assigned: int
    max_concurrent: int
    #: whether it takes new runs
    is_enabled: bool
    #: whether it answers requests that name no agent
    is_default: bool
    #: seconds that a run may take
    timeout: float
    #: what it may use in a day; null means no limit
    budget: BudgetShown | None
    #: whether its tasks report tokens; null if only its tasks show that
    tells_tokens: bool | None
    #: whether its tasks report their cost; null if only its tasks show that
    tells_cost: bool | None
    #: kinds of files that it takes itself: image, audio, pdf, other; null if only its tasks show that
    accepts: list[str] | None
    created_at: str | None
    updated_at: str | None


def render_agent(of: AgentView) -> AgentShown:
    stored = of.stored
    return AgentShown(
        id=of.agent.id,
        slug=of.slug,
        name=stored.name if stored else of.agent.id,
        base=stored.base if stored else None,
        backend=of.agent.backend,
        model=of.agent.model,
        system_prompt=of.agent.system_prompt,
        status=of.activity,
        current_tasks=of.load.running,
        queued=of.load.queued,
        assigned=of.load.slots,
        max_concurrent=of.agent.max_concurrent,
        is_enabled=of.agent.enabled,
        is_default=of.default,
        timeout=of.agent.timeout,
        budget=None if of.agent.budget in (None, Budget()) else render_budget(of.agent.budget),
        tells_tokens=of.abilities.tells_tokens,
        tells_cost=of.abilities.tells_cost,
        accepts=None if of.accepts is None else sorted(of.accepts),
        created_at=render_time(stored.created if stored else None),
        updated_at=render_time(stored.updated if stored else None),
    )
