"""The tools that an agent can use over MCP: each is a struct that it reads and a function that does it.

To add one, declare it here with `@TOOLS.add`; agents read its docstring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from gateway.api import fields, views
from gateway.api.compat.mcp.tool import Tell, ToolTable
from gateway.api.routing import Call
from gateway.domain import cron, ids, times
from gateway.domain.event import AnyHappening
from gateway.domain.page import Page
from gateway.domain.run import MAX_ROUNDS, Mode, Run, RunFilter, RunSpec, Source
from gateway.domain.run import Status as RunStatus
from gateway.domain.schedule import Schedule, ScheduleSpec
from gateway.domain.token import Scope
from gateway.errors import TimedOut

#: the channel in the keys of sessions that are named here
CHANNEL = "mcp"
#: seconds that a wait takes by default and at most; many clients give up after 60 seconds
WAIT, LONGEST_WAIT = 30.0, 40.0
#: characters of a task's input that a list shows
SHOWN = 200
#: the most events in one answer
EVENTS = 200
#: the most bytes of events in one answer, unless a single event has more: a model has to read the answer
SIZE = 64 << 10

TOOLS = ToolTable()
_Call = Call[Any, Any]

_Wait = Annotated[
    float, Meta(ge=0, le=LONGEST_WAIT, description="Seconds to wait before answering with what there is.")
]
_TaskId = Annotated[fields.RunId, Meta(description="The task's id, or a unique prefix of it.")]
_Agent = Annotated[fields.AgentName, Meta(description="Id of the agent; the default agent when left out.")]
_Model = Annotated[str, Meta(pattern=ids.MODEL, description="One of the agent's own models.")]
_Limit = Annotated[int, Meta(ge=1, le=100, description="How many to list, newest first.")]


# --- tasks and messages -------------------------------------------------------------------------


class Told(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task, as an agent sees it."""

    task_id: str
    #: held, queued, running, succeeded, failed or cancelled
    status: str
    agent: str
    session: str
    input: str | None = None
    reply: str | None = None
    error: str | None = None
    created_at: str | None = None
    finished_at: str | None = None
    #: number of the last event in its log
    last_event: int = 0
    #: what to do while it has not ended
    next: str | None = None


def _told(run: Run, *, listed: bool = False) -> Told:
    going = None if run.status.final or listed else "It has not ended. Call wait_task with this task_id to wait on."
    return Told(
        task_id=run.id,
        status=run.status,
        agent=run.spec.agent,
        session=run.spec.session,
        input=run.spec.input[:SHOWN] if listed else None,
        reply=None if listed else run.result,
        error=run.error,
        created_at=times.rfc3339(run.created),
        finished_at=views.moment(run.finished),
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
    wait: _Wait = WAIT


@TOOLS.add(Scope.WRITE, SendMessage)
async def send_message(call: _Call, asked: SendMessage, tell: Tell | None) -> Told:
    """Send a message to an agent in a conversation, and wait for its reply.

    If the reply takes longer than `wait` seconds, the answer has a `task_id` instead: the agent goes on working, and
    wait_task returns the reply.
    """
    key = call.engine.sessions.key(asked.session, CHANNEL, asked.agent)
    spec = RunSpec(source=Source.MCP, agent=key.agent, session=str(key), input=asked.message, model=asked.model)
    run = (await call.engine.submit(spec, call.idempotency())).run
    ended = await _awaited(call, run.id, asked.wait, tell)
    if ended.status.final:
        views.result(ended)  # raises the error of a run without an answer
    return _told(ended)


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


@TOOLS.add(Scope.WRITE, RunTask)
async def run_task(call: _Call, asked: RunTask, tell: Tell | None) -> Told:
    """Submit work for an agent and return at once.

    When this answers, the task is on disk and will be done, even if you disconnect.
    """
    name = asked.session or ids.ulid(call.server.clock()).lower()
    key = call.engine.sessions.key(name, CHANNEL, asked.agent)
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
        parent=None if asked.parent is None else (await call.engine.run(asked.parent)).id,
    )
    return _told((await call.engine.submit(spec, call.idempotency())).run)


class WhichTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    task_id: _TaskId


@TOOLS.add(Scope.READ, WhichTask)
async def get_task(call: _Call, asked: WhichTask, tell: Tell | None) -> Told:
    """Show the state of a task, without waiting."""
    return _told(await call.engine.run(asked.task_id))


class WaitTask(WhichTask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wait: _Wait = WAIT


@TOOLS.add(Scope.READ, WaitTask)
async def wait_task(call: _Call, asked: WaitTask, tell: Tell | None) -> Told:
    """Wait for the end of a task and return its reply; after `wait` seconds, return its state so far."""
    return _told(await _awaited(call, (await call.engine.run(asked.task_id)).id, asked.wait, tell))


class FollowTask(WaitTask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    after: Annotated[
        int, Meta(ge=0, le=fields.LAST, description="The `last_event` of the answer before; 0 in the first call.")
    ] = 0


class EventTold(Struct, frozen=True, kw_only=True):
    #: the number of the event
    n: int
    at: str
    data: AnyHappening


class Followed(Struct, frozen=True, kw_only=True):
    """A part of a task's log."""

    task_id: str
    status: str
    events: list[EventTold]
    #: send it as `after` in the next call
    last_event: int
    #: whether no more events can come
    ended: bool


@TOOLS.add(Scope.READ, FollowTask)
async def follow_task(call: _Call, asked: FollowTask, tell: Tell | None) -> Followed:
    """Read what a task's agent says and does, as it happens: the events after number `after`.

    Waits up to `wait` seconds for something new. Call it again with `last_event` until `ended`.
    """
    id_ = (await call.engine.run(asked.task_id)).id
    if not await call.engine.events(id_, asked.after, 1):
        with suppress(TimeoutError):
            async with asyncio.timeout(asked.wait), aclosing(call.engine.watch(id_, asked.after)) as events:
                await anext(events, None)
    found = await call.engine.events(id_, asked.after, EVENTS, SIZE)
    run = await call.engine.run(id_)
    last = found[-1].n if found else min(asked.after, run.last_event)
    return Followed(
        task_id=id_,
        status=run.status,
        events=[EventTold(n=event.n, at=times.rfc3339(event.at), data=event.data) for event in found],
        last_event=last,
        ended=run.status.final and last >= run.last_event,
    )


@TOOLS.add(Scope.WRITE, WhichTask)
async def cancel_task(call: _Call, asked: WhichTask, tell: Tell | None) -> Told:
    """Cancel a task: a queued one at once, a running one within seconds."""
    # Shielded: if the client disconnects, a run that is marked as cancelled must still be stopped.
    return _told(await asyncio.shield(call.engine.cancel(asked.task_id, call.idempotency())))


class WhichTasks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: RunStatus | None = None
    agent: _Agent | None = None
    limit: _Limit = 20


class Tasks(Struct, frozen=True):
    tasks: list[Told]


@TOOLS.add(Scope.READ, WhichTasks)
async def list_tasks(call: _Call, asked: WhichTasks, tell: Tell | None) -> Tasks:
    """List tasks, newest first: all tasks of this gateway, whoever submitted them."""
    named = None if asked.agent is None else call.engine.agents.named(asked.agent)
    which = RunFilter(status=asked.status, agent=named.id if named else asked.agent)
    runs: Sequence[Run] = await call.engine.runs(which, Page(limit=asked.limit))
    return Tasks([_told(run, listed=True) for run in runs])


async def _awaited(call: _Call, run: str, seconds: float, tell: Tell | None) -> Run:
    """Return a run when it has ended or the time is up; pass its events to `tell` until then.

    Raises:
        Unavailable: the gateway stops; the run goes on when it is back.
    """
    telling = None if tell is None else asyncio.create_task(_tell_of(call, run, tell), name="mcp-telling")
    try:
        return await call.engine.wait(run, seconds)
    except TimedOut:
        return await call.engine.run(run)
    finally:
        if telling is not None:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling


async def _tell_of(call: _Call, run: str, tell: Tell) -> None:
    async with aclosing(call.engine.watch(run)) as events:
        async for event in events:
            await tell(event)


# --- agents, sessions, schedules ----------------------------------------------------------------


class Everything(Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments."""


class AgentTold(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    #: idle, working or disabled
    status: str
    is_default: bool


class Agents(Struct, frozen=True):
    agents: list[AgentTold]


@TOOLS.add(Scope.READ, Everything)
async def list_agents(call: _Call, asked: Everything, tell: Tell | None) -> Agents:
    """List the agents that can be given messages and tasks."""
    shown = [views.agent(view) for view in await call.engine.agents.views()]
    return Agents([AgentTold(id=one.id, name=one.name, status=one.status, is_default=one.is_default) for one in shown])


class HowMany(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: _Limit = 20


class SessionsTold(Struct, frozen=True):
    sessions: list[views.SessionShown]


@TOOLS.add(Scope.READ, HowMany)
async def list_sessions(call: _Call, asked: HowMany, tell: Tell | None) -> SessionsTold:
    """List conversations, the last used one first."""
    return SessionsTold([views.session(one) for one in await call.engine.sessions.list(Page(limit=asked.limit))])


class WhichSession(HowMany, frozen=True, kw_only=True, forbid_unknown_fields=True):
    session: Annotated[fields.SessionName, Meta(description="A session's key, as list_sessions shows it, or its name.")]


class Transcript(Struct, frozen=True, kw_only=True):
    session: str
    #: oldest first
    messages: list[views.MessageShown]


@TOOLS.add(Scope.READ, WhichSession)
async def read_session(call: _Call, asked: WhichSession, tell: Tell | None) -> Transcript:
    """Read the newest messages of a conversation."""
    key = (await call.engine.sessions.find(asked.session)).key
    messages = await call.engine.sessions.history(key, asked.limit)
    return Transcript(session=key, messages=[views.message(line) for line in messages])


class ScheduleTold(Struct, frozen=True, kw_only=True):
    schedule_id: str
    name: str
    schedule: str
    timezone: str
    prompt: str
    agent: str | None
    enabled: bool
    next_run: str | None
    last_status: str | None


class SchedulesTold(Struct, frozen=True):
    schedules: list[ScheduleTold]


def _schedule(one: Schedule) -> ScheduleTold:
    return ScheduleTold(
        schedule_id=one.id,
        name=one.spec.name,
        schedule=one.spec.expression,
        timezone=one.spec.timezone,
        prompt=one.spec.input[:SHOWN],
        agent=one.spec.agent,
        enabled=one.enabled,
        next_run=views.moment(one.next_at if one.enabled else None),
        last_status=one.last_status,
    )


@TOOLS.add(Scope.READ, HowMany)
async def list_schedules(call: _Call, asked: HowMany, tell: Tell | None) -> SchedulesTold:
    """List schedules, newest first."""
    return SchedulesTold([_schedule(one) for one in await call.engine.schedules.list(Page(limit=asked.limit))])


class AddSchedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schedule: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=cron.LENGTH,
            description="A cron expression, `every 15m`, or for a single run an RFC 3339 time with a zone.",
        ),
    ]
    prompt: fields.Prompt
    name: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{0,100}$(?!\n)")] = ""
    agent: _Agent | None = None
    timezone: Annotated[str, Meta(min_length=1, max_length=64, description="IANA name of a time zone.")] | None = None


@TOOLS.add(Scope.WRITE, AddSchedule)
async def add_schedule(call: _Call, asked: AddSchedule, tell: Tell | None) -> ScheduleTold:
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
    made = call.engine.schedules.create(spec, enabled=True, key=call.idempotency())
    return _schedule(await asyncio.shield(made))


class WhichSchedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schedule_id: Annotated[str, Meta(min_length=1, max_length=64)]


class Removed(Struct, frozen=True):
    removed: str


@TOOLS.add(Scope.WRITE, WhichSchedule)
async def remove_schedule(call: _Call, asked: WhichSchedule, tell: Tell | None) -> Removed:
    """Remove a schedule; its tasks stay."""
    await asyncio.shield(call.engine.schedules.delete(asked.schedule_id))
    return Removed(asked.schedule_id)
