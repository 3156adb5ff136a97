"""Team Board's agents service: `/agents/`, with its fields, its statuses and its errors."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.api import fields, openclaw_callback
from gateway.api.routing import Call, Dialect, Nothing, Routes, Unheeded
from gateway.domain import times
from gateway.domain.agent import AgentDraft, AgentEdit
from gateway.domain.ids import MODEL_PATTERN
from gateway.domain.token import Scope
from gateway.engine.resources.agents import Activity, AgentView
from gateway.errors import AgentBusy, AgentDisabled, AgentNotFound, GatewayError, InvalidRequest

#: namespace of the UUIDs of agents of the config file, whose ids are not UUIDs
_AGENT_UUID_NAMESPACE = uuid.UUID("6f6e7267-6174-4565-8d6f-6f6e67617465")

_Model = Annotated[str, Meta(pattern=MODEL_PATTERN, max_length=100)]


class Detail(Struct, frozen=True):
    """The body of every error here."""

    detail: str


def _render_team_error(error: GatewayError) -> Detail:
    return Detail(str(error))


ROUTES = Routes("team board", dialect=Dialect(error_type=Detail, render_error=_render_team_error))


class TeamAgentCreate(AgentDraft, frozen=True, kw_only=True):
    """A new agent; backend and model are the default agent's unless given."""

    model: _Model | None = None


class TeamAgentUpdate(AgentEdit, frozen=True, kw_only=True):
    """Any of an agent's fields."""

    model: _Model | UnsetType | None = UNSET


class TeamAgent(Struct, frozen=True, kw_only=True):
    """An agent, as Team Board shows it."""

    #: its id, a UUID
    id: str
    #: the name that people see
    name: str
    #: unique short name; requests may use it in place of the id
    slug: str
    model: str | None
    system_prompt: str | None
    max_concurrent: int
    #: idle or working
    status: str
    #: assigned tasks that have not ended
    current_tasks: int
    #: whether it takes new tasks
    is_enabled: bool
    created_at: str
    updated_at: str


class TaskAssignment(Struct, frozen=True, kw_only=True):
    #: the id that the board gave the task; its session is `task:` and this id
    task_id: fields.TaskName | int
    #: what the agent is told
    prompt: fields.Prompt


class TaskAssigned(Struct, frozen=True, kw_only=True):
    #: always true: failures have another status code
    ok: bool = True
    #: id of the run, which `GET /api/tasks/{id}` shows
    run_id: str = field(name="runId")


class TeamCallback(Struct, frozen=True, kw_only=True):
    """What OpenClaw posts when a task has ended; it only has to be well formed."""

    #: the session of the task; it is not used
    session_key: str | None = field(default=None, name="sessionKey")


class TeamOk(Struct, frozen=True):
    #: always true: failures have another status code
    ok: bool = True


@ROUTES.add("GET", "/agents", scope=Scope.READ, query=Unheeded)
@ROUTES.add("GET", "/agents/", scope=Scope.READ, query=Unheeded, documented=False)
async def list_team_agents(call: Call[Nothing, Unheeded]) -> list[TeamAgent]:
    """List all agents, oldest first."""
    return [_render_team_agent(call, view) for view in await call.engine.agents.list_views()]


@ROUTES.add("POST", "/agents", scope=Scope.ADMIN, body=TeamAgentCreate, query=Unheeded, answer=TeamAgent)
@ROUTES.add(
    "POST", "/agents/", scope=Scope.ADMIN, body=TeamAgentCreate, query=Unheeded, answer=TeamAgent, documented=False
)
async def create_team_agent(call: Call[TeamAgentCreate, Unheeded]) -> TeamAgent:
    """Make an agent."""
    return _render_team_agent(
        call, await asyncio.shield(call.engine.agents.create_agent(call.body, call.read_idempotency_key()))
    )


@ROUTES.add("GET", "/agents/{id}", scope=Scope.READ, query=Unheeded, answer=TeamAgent)
async def show_team_agent(call: Call[Nothing, Unheeded]) -> TeamAgent:
    """Show an agent."""
    return _render_team_agent(call, await call.engine.agents.get_view(_find_agent_id(call)))


@ROUTES.add("PUT", "/agents/{id}", scope=Scope.ADMIN, body=TeamAgentUpdate, query=Unheeded, answer=TeamAgent)
async def update_team_agent(call: Call[TeamAgentUpdate, Unheeded]) -> TeamAgent:
    """Change an agent."""
    return _render_team_agent(
        call, await asyncio.shield(call.engine.agents.edit_agent(_find_agent_id(call), call.body))
    )


@ROUTES.add("DELETE", "/agents/{id}", scope=Scope.ADMIN, query=Unheeded, answer=TeamOk)
async def delete_team_agent(call: Call[Nothing, Unheeded]) -> TeamOk:
    """Delete an agent."""
    await asyncio.shield(call.engine.agents.delete_agent(_find_agent_id(call)))
    return TeamOk()


@ROUTES.add("POST", "/agents/callback", scope=Scope.WRITE, body=TeamCallback, query=Unheeded, answer=TeamOk)
async def team_callback(call: Call[TeamCallback, Unheeded]) -> TeamOk:
    """Accept the callback of a task; there is nothing to do, because the end of its run has freed the slot."""
    call.read_idempotency_key()  # a repeated callback does no harm, but a malformed key is refused as on every route
    return TeamOk()


@ROUTES.add("POST", "/agents/{id}/assign", scope=Scope.WRITE, body=TaskAssignment, query=Unheeded, answer=TaskAssigned)
async def assign_team_task(call: Call[TaskAssignment, Unheeded]) -> TaskAssigned:
    """Give an agent a task if it has a free slot."""
    wanted = call.body
    deliver = openclaw_callback.choose_callback_targets(call.server)
    try:
        accepted = await call.engine.assignments.assign_task(
            _find_agent_id(call), str(wanted.task_id), wanted.prompt, call.read_idempotency_key(), deliver=deliver
        )
    except AgentDisabled as error:
        raise InvalidRequest("Agent is disabled") from error
    except AgentBusy as error:
        raise InvalidRequest("Agent is busy") from error
    call.headers["X-Run-Id"] = accepted.run.id
    return TaskAssigned(run_id=accepted.run.id)


def _find_agent_id(call: Call[Any, Unheeded]) -> str:
    """Return the id of the agent in the path, which has its slug or the UUID that is shown here."""
    name = call.path["id"]
    agents = call.engine.agents
    found = agents.find_by_name(name)
    known = [found.id] if found else [agent for agent in agents.agent_ids if _agent_uuid(agent) == name.lower()]
    if not known:
        raise AgentNotFound("Agent not found")
    return known[0]


def _agent_uuid(agent: str) -> str:
    """Return an agent's id as a UUID: its own if it is one, else a UUID made from it."""
    try:
        return str(uuid.UUID(agent))
    except ValueError:
        return str(uuid.uuid5(_AGENT_UUID_NAMESPACE, agent))


def _render_team_agent(call: Call[Any, Unheeded], of: AgentView) -> TeamAgent:
    stored = of.stored
    started = call.server.started
    return TeamAgent(
        id=_agent_uuid(of.agent.id),
        name=stored.name if stored else of.agent.id,
        slug=of.slug,
        model=of.agent.model,
        system_prompt=of.agent.system_prompt,
        max_concurrent=of.agent.max_concurrent,
        status=Activity.WORKING if of.load.running or of.load.slots else Activity.IDLE,
        current_tasks=of.load.slots,
        is_enabled=of.agent.enabled,
        created_at=times.format_rfc3339(stored.created if stored else started),
        updated_at=times.format_rfc3339(stored.updated if stored else started),
    )
