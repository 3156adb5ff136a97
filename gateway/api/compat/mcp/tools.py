"""The tools that an agent can use over MCP: each is a struct that it reads and a function that does it.

To add one, declare it here with `@TOOLS.add`; agents read its docstring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.api import fields, paging, views
from gateway.api.compat.mcp.task import (
    MAX_LISTED_INPUT_CHARACTERS,
    TaskSummary,
    show_task,
    summarize_task,
    wait_for_end,
)
from gateway.api.compat.mcp.tool import ToolClient, ToolTable
from gateway.api.routing import Call
from gateway.domain import cron, ids, times
from gateway.domain.event import AnyEventData
from gateway.domain.file import File
from gateway.domain.page import Page
from gateway.domain.run import MAX_ROUNDS, Mode, Run, RunFilter, RunSpec, Source
from gateway.domain.run import Status as RunStatus
from gateway.domain.schedule import Schedule, ScheduleSpec
from gateway.domain.token import Scope

#: the channel in the keys of sessions that are named here
MCP_CHANNEL = "mcp"
#: seconds that a wait takes by default and at most; many clients give up after 60 seconds
DEFAULT_TOOL_WAIT_SECONDS, MAX_TOOL_WAIT_SECONDS = 30.0, 40.0
#: the most events in one answer
MAX_FOLLOWED_EVENTS = 200
#: the most bytes of events in one answer, unless a single event has more: a model has to read the answer
MAX_FOLLOWED_BYTES = 64 << 10

MCP_TOOLS = ToolTable()
_Call = Call[Any, Any]

_Wait = Annotated[
    float, Meta(ge=0, le=MAX_TOOL_WAIT_SECONDS, description="Seconds to wait before answering with what there is.")
]
_TaskId = Annotated[fields.RunId, Meta(description="The task's id, or any unique part of it.")]
_Agent = Annotated[fields.AgentName, Meta(description="Id of the agent; the default agent when left out.")]
_Model = Annotated[str, Meta(pattern=ids.MODEL_PATTERN, description="One of the agent's own models.")]
_Attachments = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=26)]],
    Meta(max_length=100, description="Ids of stored files for the agent; `POST /api/files` stores one."),
]
_Limit = Annotated[int, Meta(ge=1, le=100, description="How many to list, newest first.")]


# --- tasks and messages -------------------------------------------------------------------------


class SendMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    message: fields.Prompt
    session: Annotated[
        fields.SessionName, Meta(description="Name of the conversation; the agent remembers what was said in it.")
    ] = "default"
    agent: _Agent | None = None
    model: _Model | None = None
    attachments: _Attachments | UnsetType = UNSET
    wait: _Wait = DEFAULT_TOOL_WAIT_SECONDS


@MCP_TOOLS.add_tool(Scope.WRITE, SendMessage)
async def send_message(call: _Call, asked: SendMessage, client: ToolClient) -> TaskSummary:
    """Send a message to an agent in a conversation, and wait for its reply.

    If the reply takes longer than `wait` seconds, the answer has a `task_id` instead: the agent goes on working, and
    wait_task returns the reply.
    """
    key = call.engine.sessions.resolve_key(asked.session, MCP_CHANNEL, asked.agent)
    spec = RunSpec(
        source=Source.MCP,
        agent=key.agent,
        session=str(key),
        input=asked.message,
        attachments=await _find_attachments(call, asked.attachments),
        model=asked.model,
    )
    run = (await call.engine.runs.submit_run(spec, call.read_idempotency_key())).run
    ended = await wait_for_end(call, run.id, asked.wait, client)
    if ended.status.is_final:
        views.result_or_raise(ended)  # raises the error of a run without an answer
    return await show_task(call, ended)


async def _find_attachments(call: _Call, given: Sequence[str] | UnsetType) -> tuple[File, ...]:
    """Return the stored files with these ids.

    Raises:
        FileUnknown: there is none with one of them.
        TooLarge: they are too many, or too large together.
    """
    async with call.engine.files.open_staging() as staging:
        for file_id in given or ():
            await staging.add_stored(file_id)
        return staging.files


class RunTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    input: fields.Prompt
    session: (
        Annotated[fields.SessionName, Meta(description="Name of the conversation; a new one when left out.")] | None
    ) = None
    agent: _Agent | None = None
    model: _Model | None = None
    attachments: _Attachments | UnsetType = UNSET
    mode: Annotated[
        Mode,
        Meta(description="`goal` asks the agent again until it says that the goal in `input` is reached."),
    ] = Mode.TURN
    max_rounds: Annotated[int, Meta(ge=1, le=100, description="In goal mode: how often to ask at most.")] = MAX_ROUNDS
    timeout: Annotated[fields.Seconds, Meta(description="Seconds that the run may take.")] | None = None
    labels: fields.Labels = field(default_factory=dict)
    parent: Annotated[fields.RunId, Meta(description="Id of the task that this one is part of.")] | None = None


@MCP_TOOLS.add_tool(Scope.WRITE, RunTask)
async def run_task(call: _Call, asked: RunTask, client: ToolClient) -> TaskSummary:
    """Submit work for an agent and return at once.

    When this answers, the task is on disk and will be done, even if you disconnect.
    """
    name = asked.session or ids.make_ulid(call.server.clock()).lower()
    key = call.engine.sessions.resolve_key(name, MCP_CHANNEL, asked.agent)
    spec = RunSpec(
        source=Source.MCP,
        agent=key.agent,
        session=str(key),
        input=asked.input,
        attachments=await _find_attachments(call, asked.attachments),
        mode=asked.mode,
        max_rounds=asked.max_rounds,
        model=asked.model,
        timeout=asked.timeout,
        labels=asked.labels,
        parent=None if asked.parent is None else (await call.engine.runs.get_run(asked.parent)).id,
    )
    return summarize_task((await call.engine.runs.submit_run(spec, call.read_idempotency_key())).run)


class WhichTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    task_id: _TaskId


@MCP_TOOLS.add_tool(Scope.READ, WhichTask)
async def get_task(call: _Call, asked: WhichTask, client: ToolClient) -> TaskSummary:
    """Show the state of a task, without waiting."""
    return await show_task(call, await call.engine.runs.get_run(asked.task_id))


class WaitTask(WhichTask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wait: _Wait = DEFAULT_TOOL_WAIT_SECONDS


@MCP_TOOLS.add_tool(Scope.READ, WaitTask)
async def wait_task(call: _Call, asked: WaitTask, client: ToolClient) -> TaskSummary:
    """Wait for the end of a task and return its reply; after `wait` seconds, return its state so far."""
    run = (await call.engine.runs.get_run(asked.task_id)).id
    return await show_task(call, await wait_for_end(call, run, asked.wait, client))


class FollowTask(WaitTask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    after: Annotated[
        int,
        Meta(
            ge=0, le=fields.MAX_LOG_POSITION, description="The `last_event` of the answer before; 0 in the first call."
        ),
    ] = 0


class EventEntry(Struct, frozen=True, kw_only=True):
    #: the number of the event
    n: int
    at: str
    data: AnyEventData


class Followed(Struct, frozen=True, kw_only=True):
    """A part of a task's log."""

    task_id: str
    status: str
    events: list[EventEntry]
    #: send it as `after` in the next call
    last_event: int
    #: whether no more events can come
    ended: bool


@MCP_TOOLS.add_tool(Scope.READ, FollowTask)
async def follow_task(call: _Call, asked: FollowTask, client: ToolClient) -> Followed:
    """Read what a task's agent says and does, as it happens: the events after number `after`.

    Waits up to `wait` seconds for something new. Call it again with `last_event` until `ended`.
    """
    id_ = (await call.engine.runs.get_run(asked.task_id)).id
    if not await call.engine.runs.read_events(id_, asked.after, 1):
        with suppress(TimeoutError):
            async with (
                call.while_token_lasts(id_),
                asyncio.timeout(asked.wait),
                aclosing(call.engine.runs.watch_run(id_, asked.after)) as events,
            ):
                await anext(events, None)
    found = await call.engine.runs.read_events(id_, asked.after, MAX_FOLLOWED_EVENTS, MAX_FOLLOWED_BYTES)
    run = await call.engine.runs.get_run(id_)
    last = found[-1].number if found else min(asked.after, run.last_event)
    return Followed(
        task_id=id_,
        status=run.status,
        events=[EventEntry(n=event.number, at=times.format_rfc3339(event.at), data=event.data) for event in found],
        last_event=last,
        ended=run.status.is_final and last >= run.last_event,
    )


@MCP_TOOLS.add_tool(Scope.WRITE, WhichTask)
async def cancel_task(call: _Call, asked: WhichTask, client: ToolClient) -> TaskSummary:
    """Cancel a task: a queued one at once, a running one within seconds."""
    # Shielded: if the client disconnects, a run that is marked as cancelled must still be stopped.
    return summarize_task(await asyncio.shield(call.engine.runs.cancel_run(asked.task_id, call.read_idempotency_key())))


class WhichTasks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: RunStatus | None = None
    agent: _Agent | None = None
    limit: _Limit = 20


class Tasks(Struct, frozen=True):
    tasks: list[TaskSummary]


@MCP_TOOLS.add_tool(Scope.READ, WhichTasks)
async def list_tasks(call: _Call, asked: WhichTasks, client: ToolClient) -> Tasks:
    """List tasks, newest first: all tasks of this gateway, whoever submitted them."""
    named = None if asked.agent is None else call.engine.agents.find_by_name(asked.agent)
    statuses = () if asked.status is None else (asked.status,)
    which = RunFilter(statuses=statuses, agent=named.id if named else asked.agent)
    runs: Sequence[Run] = await call.engine.runs.list_runs(which, Page(limit=asked.limit))
    return Tasks([summarize_task(run, listed=True) for run in runs])


# --- agents, sessions, schedules ----------------------------------------------------------------


class Everything(Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments."""


class AgentSummary(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    #: idle, working or disabled
    status: str
    is_default: bool


class Agents(Struct, frozen=True):
    agents: list[AgentSummary]


@MCP_TOOLS.add_tool(Scope.READ, Everything)
async def list_agents(call: _Call, asked: Everything, client: ToolClient) -> Agents:
    """List the agents that can be given messages and tasks."""
    shown = [views.render_agent(view) for view in await call.engine.agents.list_views()]
    return Agents(
        [AgentSummary(id=one.id, name=one.name, status=one.status, is_default=one.is_default) for one in shown]
    )


class HowMany(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: _Limit = 20


class SessionSummaries(Struct, frozen=True):
    sessions: list[views.SessionShown]


@MCP_TOOLS.add_tool(Scope.READ, HowMany)
async def list_sessions(call: _Call, asked: HowMany, client: ToolClient) -> SessionSummaries:
    """List conversations, the last used one first."""
    return SessionSummaries(
        [views.render_session(one) for one in await call.engine.sessions.list_sessions(Page(limit=asked.limit))]
    )


class WhichSession(HowMany, frozen=True, kw_only=True, forbid_unknown_fields=True):
    session: Annotated[fields.SessionName, Meta(description="A session's key, as list_sessions shows it, or its name.")]


class Transcript(Struct, frozen=True, kw_only=True):
    session: str
    #: oldest first
    messages: list[views.MessageShown]


@MCP_TOOLS.add_tool(Scope.READ, WhichSession)
async def read_session(call: _Call, asked: WhichSession, client: ToolClient) -> Transcript:
    """Read the newest messages of a conversation."""
    key = (await call.engine.sessions.get_session(asked.session)).key
    messages = await call.engine.sessions.read_history(key, Page(limit=asked.limit, max_bytes=paging.MAX_PAGE_BYTES))
    return Transcript(session=key, messages=[views.render_message(line) for line in messages])


class ScheduleSummary(Struct, frozen=True, kw_only=True):
    schedule_id: str
    name: str
    schedule: str
    timezone: str
    prompt: str
    agent: str | None
    enabled: bool
    next_run: str | None
    last_status: str | None


class ScheduleSummaries(Struct, frozen=True):
    schedules: list[ScheduleSummary]


def _summarize_schedule(one: Schedule) -> ScheduleSummary:
    return ScheduleSummary(
        schedule_id=one.id,
        name=one.spec.name,
        schedule=one.spec.expression,
        timezone=one.spec.timezone,
        prompt=one.spec.input[:MAX_LISTED_INPUT_CHARACTERS],
        agent=one.spec.agent,
        enabled=one.enabled,
        next_run=views.render_time(one.next_at if one.enabled else None),
        last_status=one.last_status,
    )


@MCP_TOOLS.add_tool(Scope.READ, HowMany)
async def list_schedules(call: _Call, asked: HowMany, client: ToolClient) -> ScheduleSummaries:
    """List schedules, newest first."""
    return ScheduleSummaries(
        [
            _summarize_schedule(one)
            for one in await call.engine.schedules.list_schedules(
                Page(limit=asked.limit, max_bytes=paging.MAX_PAGE_BYTES)
            )
        ]
    )


class AddSchedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schedule: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=cron.MAX_SCHEDULE_EXPRESSION_CHARACTERS,
            description="A cron expression, `every 15m`, or for a single run an RFC 3339 time with a zone.",
        ),
    ]
    prompt: fields.Prompt
    name: Annotated[str, Meta(max_length=100, pattern=fields.SHOWN_NAME_PATTERN)] = ""
    agent: _Agent | None = None
    timezone: Annotated[str, Meta(min_length=1, max_length=64, description="IANA name of a time zone.")] | None = None


@MCP_TOOLS.add_tool(Scope.WRITE, AddSchedule)
async def add_schedule(call: _Call, asked: AddSchedule, client: ToolClient) -> ScheduleSummary:
    """Make a schedule that sends an agent the same prompt at set times."""
    settings = call.server.config.cron
    spec = ScheduleSpec(
        name=asked.name,
        expression=asked.schedule,
        timezone=asked.timezone or settings.timezone,
        input=asked.prompt,
        agent=asked.agent,
        max_failures=settings.max_failures,
    )
    made = call.engine.schedules.create_schedule(spec, enabled=True, key=call.read_idempotency_key())
    return _summarize_schedule(await asyncio.shield(made))


class WhichSchedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schedule_id: Annotated[str, Meta(min_length=1, max_length=64)]


class Removed(Struct, frozen=True):
    removed: str


@MCP_TOOLS.add_tool(Scope.WRITE, WhichSchedule)
async def remove_schedule(call: _Call, asked: WhichSchedule, client: ToolClient) -> Removed:
    """Remove a schedule; its tasks stay."""
    await asyncio.shield(call.engine.schedules.delete_schedule(asked.schedule_id))
    return Removed(asked.schedule_id)
