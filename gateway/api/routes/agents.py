"""Agents: list them, show their state, and make agents that build on configured ones."""

from __future__ import annotations

import asyncio

import msgspec
from msgspec import Struct

from gateway.api import fields, openclaw_callback, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.agent import AgentDraft, AgentEdit
from gateway.domain.offer import Offer, OfferedChoice
from gateway.domain.run import EndedRun
from gateway.domain.token import Scope

ROUTES = Routes("agents")


class AgentList(Struct, frozen=True, kw_only=True):
    agents: list[views.AgentShown]
    #: slugs of the agents that were deleted, by the ids that their tasks and their usage have
    deleted: dict[str, str]


class EndShown(Struct, frozen=True, kw_only=True):
    """How a task ended."""

    #: id of the task
    task: str
    #: succeeded, failed or cancelled
    status: str
    #: completed, agent_error, timeout, interrupted, over_budget or cancelled_by_user
    outcome: str | None
    finished_at: str
    #: from its start to its end; null if it never started
    seconds: float | None


class Outcomes(Struct, frozen=True, kw_only=True):
    #: the last tasks of each agent that have ended, by the agent's id; oldest first
    agents: dict[str, list[EndShown]]


class WhichOutcomes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many outcomes to show."""

    #: the most tasks of each agent
    each: fields.EachCount = fields.DEFAULT_EACH_COUNT


class HealthShown(Struct, frozen=True, kw_only=True):
    """Whether an agent can answer now."""

    #: whether it can answer
    ok: bool
    #: version of its program; empty if not known
    version: str
    #: where it was found; if it cannot answer, why
    detail: str
    #: what it seems to lack, such as a credential
    missing: str


class AgentAnswer(Struct, frozen=True, kw_only=True):
    agent: views.AgentShown
    health: HealthShown
    #: the models that it offers; null if it has not told, as before its first session
    models: list[OfferedChoice] | None
    #: the modes that it offers; null if it has not told
    modes: list[OfferedChoice] | None


class NewAgent(AgentDraft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An agent that takes backend, command, environment, workspace and permissions from a configured one."""


class ChangedAgent(AgentEdit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The changes; fields that are left out stay as they are. A null model or system prompt means the base's."""


class AgentKept(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    agent: views.AgentShown


class AgentGone(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    #: queued runs that have failed because it is gone
    failed: int


class Assignment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task for an agent; each task has its own session."""

    #: your name of the task; its session is `task:` and this name
    task_id: fields.TaskName
    #: what the agent is told
    prompt: fields.Prompt


class Assigned(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    task: views.TaskShown


@ROUTES.add("GET", "/api/agents", scope=Scope.READ, answer=AgentList)
async def list_agents(call: Call[Nothing, Nothing]) -> AgentList:
    """List the agents."""
    return AgentList(
        agents=[views.render_agent(view) for view in await call.engine.agents.list_views()],
        deleted=dict(call.engine.agents.deleted_slugs),
    )


@ROUTES.add("GET", "/api/agents/outcomes", scope=Scope.READ, query=WhichOutcomes, answer=Outcomes)
async def list_outcomes(call: Call[Nothing, WhichOutcomes]) -> Outcomes:
    """Show how the last tasks of each agent ended."""
    found = await call.engine.agents.list_ended_runs(call.query.each)
    return Outcomes(agents={agent: [_render_end(run) for run in runs] for agent, runs in found.items()})


@ROUTES.add("POST", "/api/agents", scope=Scope.ADMIN, body=NewAgent, answer=AgentKept, status=201)
async def create_agent(call: Call[NewAgent, Nothing]) -> AgentKept:
    """Make an agent that builds on a configured one."""
    # Shielded, here and below: if the client disconnects, this process must still learn of the agent on disk.
    made = await asyncio.shield(call.engine.agents.create_agent(call.body, call.read_idempotency_key()))
    return AgentKept(agent=views.render_agent(made))


@ROUTES.add("GET", "/api/agents/{id}", scope=Scope.READ, answer=AgentAnswer)
async def show_agent(call: Call[Nothing, Nothing]) -> AgentAnswer:
    """Show an agent with what it offers, and ask its backend whether it can answer now."""
    view = await call.engine.agents.get_view(call.path["id"])
    found = await call.engine.agents.check_health(view.agent)
    offer = call.engine.agents.find_offer(view.agent) or Offer()
    return AgentAnswer(
        agent=views.render_agent(view),
        health=HealthShown(**msgspec.structs.asdict(found)),
        models=None if offer.models is None else list(offer.models),
        modes=None if offer.modes is None else list(offer.modes),
    )


@ROUTES.add("PUT", "/api/agents/{id}", scope=Scope.ADMIN, body=ChangedAgent, answer=AgentKept)
async def edit_agent(call: Call[ChangedAgent, Nothing]) -> AgentKept:
    """Change an agent that was made through the API."""
    return AgentKept(
        agent=views.render_agent(await asyncio.shield(call.engine.agents.edit_agent(call.path["id"], call.body)))
    )


@ROUTES.add("DELETE", "/api/agents/{id}", scope=Scope.ADMIN, answer=AgentGone)
async def delete_agent(call: Call[Nothing, Nothing]) -> AgentGone:
    """Delete an agent that was made through the API: its running runs continue, its queued runs fail."""
    return AgentGone(failed=await asyncio.shield(call.engine.agents.delete_agent(call.path["id"])))


@ROUTES.add("POST", "/api/agents/{id}/assign", scope=Scope.WRITE, body=Assignment, answer=Assigned, status=202)
async def assign(call: Call[Assignment, Nothing]) -> Assigned:
    """Give an agent a task if it has a free slot; the slot is free again when the run ends, for whatever reason."""
    wanted = call.body
    accepted = await call.engine.assignments.assign_task(
        call.path["id"],
        wanted.task_id,
        wanted.prompt,
        call.read_idempotency_key(),
        deliver=openclaw_callback.choose_callback_targets(call.server),
    )
    call.headers["X-Run-Id"] = accepted.run.id
    return Assigned(task=views.render_task(accepted.run))


def _render_end(run: EndedRun) -> EndShown:
    return EndShown(
        task=run.id,
        status=run.status,
        outcome=run.outcome,
        finished_at=times.format_rfc3339(run.finished),
        seconds=None if run.started is None else max(0, run.finished - run.started) / 1000,
    )
