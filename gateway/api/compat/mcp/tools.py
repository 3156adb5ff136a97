"""The tools that an agent can use over MCP: each is a struct that it reads and a function that does it.

To add one, declare it here with `@TOOLS.add`; agents read its docstring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from gateway.api import fields, paging, views
from gateway.api.compat.mcp.tool import TellEvent, ToolTable
from gateway.api.routing import Call
from gateway.domain import cron, ids, times
from gateway.domain.event import AnyEventData, Notice
from gateway.domain.page import Page
from gateway.domain.run import MAX_ROUNDS, Mode, Run, RunFilter, RunSpec, Source
from gateway.domain.run import Status as RunStatus
from gateway.domain.schedule import Schedule, ScheduleSpec
from gateway.domain.token import Scope
from gateway.errors import TimedOut

#: the channel in the keys of sessions that are named here
MCP_CHANNEL = "mcp"
#: seconds that a wait takes by default and at most; many clients give up after 60 seconds
DEFAULT_TOOL_WAIT_SECONDS, MAX_TOOL_WAIT_SECONDS = 30.0, 40.0
#: characters of a task's input that a list shows
MAX_LISTED_INPUT_CHARACTERS = 200
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
_Limit = Annotated[int, Meta(ge=1, le=100, description="How many to list, newest first.")]


# --- tasks and messages -------------------------------------------------------------------------


class TaskSummary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task, as an agent sees it."""

    task_id: str
    #: held, queued, running, succeeded, failed or cancelled
    status: str
    agent: str
    session: str
    input: str | None = None
    reply: str | None = None
    #: why the reply ended: stop, or length or content_filter if it was cut
    finish: str | None = None
    error: str | None = None
    created_at: str | None = None
    finished_at: str | None = None
    #: whether the agent had lost its conversation, began a new one, and was given the transcript
    session_restarted: bool = False
    #: whether the oldest turns were left out, because the model could not read the whole conversation
    context_shortened: bool = False
    #: number of the last event in its log
    last_event: int = 0
    #: what to do while it has not ended
    next: str | None = None


def _summarize_task(run: Run, *, listed: bool = False) -> TaskSummary:
    going = None if run.status.is_final or listed else "It has not ended. Call wait_task with this task_id to wait on."
    return TaskSummary(
        task_id=run.id,
        status=run.status,
        agent=run.spec.agent,
        session=run.spec.session,
        input=run.spec.input[:MAX_LISTED_INPUT_CHARACTERS] if listed else None,
        reply=None if listed else run.result,
        finish=run.finish,
        error=run.error,
        created_at=times.format_rfc3339(run.created),
        finished_at=views.render_time(run.finished),
        session_restarted=Notice.SESSION_RESTARTED in run.notices,
        context_shortened=Notice.CONTEXT_SHORTENED in run.notices,
        last_event=run.last_event,
        next=going,
    )


class SendMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    message: fields.Prompt
    session: Annotated[
        fields.SessionName, Meta(description="Name of the conversation; the agent remembers what was said in it.")
    ] = "default"
    agent: _Agent | None = None
    model: _Model | None = None
    wait: _Wait = DEFAULT_TOOL_WAIT_SECONDS


@MCP_TOOLS.add_tool(Scope.WRITE, SendMessage)
async def send_message(call: _Call, asked: SendMessage, tell: TellEvent | None) -> TaskSummary:
    """Send a message to an agent in a conversation, and wait for its reply.

    If the reply takes longer than `wait` seconds, the answer has a `task_id` instead: the agent goes on working, and
    wait_task returns the reply.
    """
    key = call.engine.sessions.resolve_key(asked.session, MCP_CHANNEL, asked.agent)
    spec = RunSpec(source=Source.MCP, agent=key.agent, session=str(key), input=asked.message, model=asked.model)
    run = (await call.engine.submit_run(spec, call.read_idempotency_key())).run
    ended = await _wait_for_end(call, run.id, asked.wait, tell)
    if ended.status.is_final:
        views.result_or_raise(ended)  # raises the error of a run without an answer
    return _summarize_task(ended)


class RunTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    input: fields.Prompt
    session: (
        Annotated[fields.SessionName, Meta(description="Name of the conversation; a new one when left out.")] | None
    ) = None
    agent: _Agent | None = None
    model: _Model | None = None
    mode: Annotated[
        Mode,
        Meta(description="`goal` asks the agent again until it says that the goal in `input` is reached."),
    ] = Mode.TURN
    max_rounds: Annotated[int, Meta(ge=1, le=100, description="In goal mode: how often to ask at most.")] = MAX_ROUNDS
    timeout: Annotated[fields.Seconds, Meta(description="Seconds that the run may take.")] | None = None
    labels: fields.Labels = field(default_factory=dict)
    parent: Annotated[fields.RunId, Meta(description="Id of the task that this one is part of.")] | None = None


@MCP_TOOLS.add_tool(Scope.WRITE, RunTask)
async def run_task(call: _Call, asked: RunTask, tell: TellEvent | None) -> TaskSummary:
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
        mode=asked.mode,
        max_rounds=asked.max_rounds,
        model=asked.model,
        timeout=asked.timeout,
        labels=asked.labels,
        parent=None if asked.parent is None else (await call.engine.get_run(asked.parent)).id,
    )
    return _summarize_task((await call.engine.submit_run(spec, call.read_idempotency_key())).run)


class WhichTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    task_id: _TaskId


@MCP_TOOLS.add_tool(Scope.READ, WhichTask)
async def get_task(call: _Call, asked: WhichTask, tell: TellEvent | None) -> TaskSummary:
    """Show the state of a task, without waiting."""
    return _summarize_task(await call.engine.get_run(asked.task_id))


class WaitTask(WhichTask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wait: _Wait = DEFAULT_TOOL_WAIT_SECONDS


@MCP_TOOLS.add_tool(Scope.READ, WaitTask)
async def wait_task(call: _Call, asked: WaitTask, tell: TellEvent | None) -> TaskSummary:
    """Wait for the end of a task and return its reply; after `wait` seconds, return its state so far."""
    return _summarize_task(await _wait_for_end(call, (await call.engine.get_run(asked.task_id)).id, asked.wait, tell))


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
async def follow_task(call: _Call, asked: FollowTask, tell: TellEvent | None) -> Followed:
    """Read what a task's agent says and does, as it happens: the events after number `after`.

    Waits up to `wait` seconds for something new. Call it again with `last_event` until `ended`.
    """
    id_ = (await call.engine.get_run(asked.task_id)).id
    if not await call.engine.read_events(id_, asked.after, 1):
        with suppress(TimeoutError):
            async with asyncio.timeout(asked.wait), aclosing(call.engine.watch_run(id_, asked.after)) as events:
                await anext(events, None)
    found = await call.engine.read_events(id_, asked.after, MAX_FOLLOWED_EVENTS, MAX_FOLLOWED_BYTES)
    run = await call.engine.get_run(id_)
    last = found[-1].number if found else min(asked.after, run.last_event)
    return Followed(
        task_id=id_,
        status=run.status,
        events=[EventEntry(n=event.number, at=times.format_rfc3339(event.at), data=event.data) for event in found],
        last_event=last,
        ended=run.status.is_final and last >= run.last_event,
    )


@MCP_TOOLS.add_tool(Scope.WRITE, WhichTask)
async def cancel_task(call: _Call, asked: WhichTask, tell: TellEvent | None) -> TaskSummary:
    """Cancel a task: a queued one at once, a running one within seconds."""
    # Shielded: if the client disconnects, a run that is marked as cancelled must still be stopped.
    return _summarize_task(await asyncio.shield(call.engine.cancel_run(asked.task_id, call.read_idempotency_key())))


class WhichTasks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: RunStatus | None = None
    agent: _Agent | None = None
    limit: _Limit = 20


class Tasks(Struct, frozen=True):
    tasks: list[TaskSummary]


@MCP_TOOLS.add_tool(Scope.READ, WhichTasks)
async def list_tasks(call: _Call, asked: WhichTasks, tell: TellEvent | None) -> Tasks:
    """List tasks, newest first: all tasks of this gateway, whoever submitted them."""
    named = None if asked.agent is None else call.engine.agents.find_by_name(asked.agent)
    which = RunFilter(status=asked.status, agent=named.id if named else asked.agent)
    runs: Sequence[Run] = await call.engine.list_runs(which, Page(limit=asked.limit))
    return Tasks([_summarize_task(run, listed=True) for run in runs])


async def _wait_for_end(call: _Call, run: str, seconds: float, tell: TellEvent | None) -> Run:
    """Return a run when it has ended or the time is up; pass its events to `tell` until then.

    Raises:
        Unavailable: the gateway stops; the run goes on when it is back.
    """
    telling = None if tell is None else asyncio.create_task(_tell_events(call, run, tell), name="mcp-telling")
    try:
        return await call.engine.wait_for_run(run, seconds)
    except TimedOut:
        return await call.engine.get_run(run)
    finally:
        if telling is not None:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling


async def _tell_events(call: _Call, run: str, tell: TellEvent) -> None:
    async with aclosing(call.engine.watch_run(run)) as events:
        async for event in events:
            await tell(event)


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
async def list_agents(call: _Call, asked: Everything, tell: TellEvent | None) -> Agents:
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
async def list_sessions(call: _Call, asked: HowMany, tell: TellEvent | None) -> SessionSummaries:
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
async def read_session(call: _Call, asked: WhichSession, tell: TellEvent | None) -> Transcript:
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
async def list_schedules(call: _Call, asked: HowMany, tell: TellEvent | None) -> ScheduleSummaries:
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
async def add_schedule(call: _Call, asked: AddSchedule, tell: TellEvent | None) -> ScheduleSummary:
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
async def remove_schedule(call: _Call, asked: WhichSchedule, tell: TellEvent | None) -> Removed:
    """Remove a schedule; its tasks stay."""
    await asyncio.shield(call.engine.schedules.delete_schedule(asked.schedule_id))
    return Removed(asked.schedule_id)
