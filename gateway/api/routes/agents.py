"""Agents: which there are and what they are doing."""

from __future__ import annotations

from msgspec import Struct

from gateway.api import views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.token import Scope

ROUTES = Routes("agents")


class AgentList(Struct, frozen=True, kw_only=True):
    agents: list[views.AgentShown]


class HealthShown(Struct, frozen=True, kw_only=True):
    """Whether an agent could answer now."""

    ok: bool
    version: str
    detail: str


class AgentAnswer(Struct, frozen=True, kw_only=True):
    agent: views.AgentShown
    health: HealthShown


@ROUTES.add("GET", "/api/agents", scope=Scope.READ, answer=AgentList)
async def list_agents(call: Call[Nothing, Nothing]) -> AgentList:
    """List the agents."""
    return AgentList(agents=[views.agent(view) for view in call.engine.agents.views()])


@ROUTES.add("GET", "/api/agents/{id}", scope=Scope.READ, answer=AgentAnswer)
async def show_agent(call: Call[Nothing, Nothing]) -> AgentAnswer:
    """Show an agent, and ask its backend whether it could answer now."""
    view = call.engine.agents.view(call.path["id"])
    found = await call.engine.agents.health(view.agent)
    return AgentAnswer(
        agent=views.agent(view), health=HealthShown(ok=found.ok, version=found.version, detail=found.detail)
    )
