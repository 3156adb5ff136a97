"""The door of XCClaw: tasks that are created first and executed later, persistent sessions, a history.

Its clients need another base URL only; `docs/clients/xcclaw.md` says what differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway.api import sockets, views
from gateway.api.routing import Call, Dialect, Routes, Unheeded
from gateway.domain import ids, times
from gateway.domain.event import Change
from gateway.domain.ids import SLUG
from gateway.domain.ports import Health, Page, RunFilter
from gateway.domain.run import Run, RunSpec, Source, Status
from gateway.domain.schedule import Schedule, ScheduleSpec
from gateway.domain.session import SessionKey
from gateway.domain.token import Scope
from gateway.engine.engine import Engine
from gateway.engine.named import Named
from gateway.errors import Conflict, InvalidRequest, JobNotFound, RunNotFound, TimedOut

HOME = "/api/xcclaw"
#: the channel of its sessions
CHANNEL = "xcclaw"
#: label of its tasks: its value is the task's type
LABEL = "xcclaw"
#: chat of scheduled tasks that have no schedule
SCHEDULED = "scheduled"
#: tasks that a list shows: the newest ones
LISTED = 10_000
#: seconds that an aborted task may take to end before the answer shows it as it is
ABORTING = 5.0
#: seconds that an agent may take to tell how it is
PULSE = 5.0

_STATUSES = {
    Status.HELD: "pending",
    Status.QUEUED: "pending",
    Status.RUNNING: "running",
    Status.SUCCEEDED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "aborted",
}


class XCClawError(Struct, frozen=True):
    """The body of every error here."""

    detail: str


ROUTES = Routes("xcclaw", dialect=Dialect(error=XCClawError, complain=lambda error: XCClawError(str(error)), home=HOME))


class TaskType(StrEnum):
    #: in a session of its own, which ends with it
    EPHEMERAL = "ephemeral"
    #: in a session that is kept
    PERSISTENT = "persistent"
    SCHEDULED = "scheduled"


class NewXCClawTask(Struct, frozen=True, kw_only=True):
    """What is to be done once it is executed."""

    type: TaskType = TaskType.EPHEMERAL
    prompt: views.Prompt
    #: of a persistent session, for a persistent task; a fresh one when left out
    session_id: str | None = None


class XCClawTask(Struct, frozen=True, kw_only=True):
    id: str
    type: str
    prompt: str
    #: pending, running, completed, failed or aborted
    status: str
    session_id: str
    result: str | None
    error: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class OpencodeState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether opencode could answer now."""

    #: ok or unavailable
    status: str
    version: str = ""


class XCClawHealth(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    opencode: OpencodeState


class HistoryLimit(Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=LISTED)] = 10


class Hidden(Struct, frozen=True, kw_only=True):
    deleted: int


class NameGiven(Struct, frozen=True, kw_only=True):
    """The name of a session, in the query or in the body."""

    name: Annotated[str, Meta(max_length=200)] | None = None


class PersistentSession(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    created_at: str


class SessionDeleted(Struct, frozen=True, kw_only=True):
    deleted: str


class TextGiven(Struct, frozen=True, kw_only=True):
    """What to tell the agent, in the query or in the body."""

    text: str | None = None


class SessionReply(Struct, frozen=True, kw_only=True):
    session_id: str
    reply: str


class SessionTask(Struct, frozen=True, kw_only=True):
    session_id: str
    task_id: str


class NewXCClawSchedule(Struct, frozen=True, kw_only=True):
    """What is to be done at which times."""

    #: made when left out
    id: Annotated[str, Meta(pattern=SLUG)] | None = None
    name: Annotated[str, Meta(max_length=100)] = ""
    #: a cron expression, in the time zone `cron.timezone`
    cron: str
    prompt: views.Prompt
    enabled: bool = True


class XCClawSchedule(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    cron: str
    prompt: str
    enabled: bool
    next_run: str | None
    created_at: str


class ScheduleDeleted(Struct, frozen=True, kw_only=True):
    deleted: str


class Ticketed(Struct, frozen=True, kw_only=True):
    ticket: sockets.Ticket = None


@ROUTES.add("GET", f"{HOME}/health", scope=Scope.READ, query=Unheeded, answer=XCClawHealth)
async def xcclaw_health(call: Call[Any, Unheeded]) -> XCClawHealth:
    """Tell whether opencode could answer now."""
    return XCClawHealth(opencode=await _opencode(call.engine))


async def _opencode(engine: Engine) -> OpencodeState:
    for name in engine.agents.ids:
        agent = engine.agents.get(name)
        if agent is None or agent.backend != "opencode" or not agent.enabled:
            continue
        try:
            async with asyncio.timeout(PULSE):
                found = await engine.agents.health(agent)
        except TimeoutError:
            found = Health(ok=False)
        if found.ok:
            return OpencodeState(status="ok", version=found.version or "unknown")
    return OpencodeState(status="unavailable")


# --- tasks ------------------------------------------------------------------------------------


@ROUTES.add(
    "POST", f"{HOME}/task", scope=Scope.WRITE, body=NewXCClawTask, query=Unheeded, answer=XCClawTask, status=201
)
async def create_xcclaw_task(call: Call[NewXCClawTask, Unheeded]) -> XCClawTask:
    """Create a task. It is not done until it is executed."""
    wanted = call.body
    key = await _key(call, wanted)
    spec = msgspec.structs.replace(
        _spec(key, wanted.type, wanted.prompt), held=True, ephemeral=wanted.type is TaskType.EPHEMERAL
    )
    return _task(call, (await call.engine.submit(spec, call.idempotency())).run)


@ROUTES.add("GET", f"{HOME}/task", scope=Scope.READ, query=Unheeded, answer=list[XCClawTask])
async def list_xcclaw_tasks(call: Call[Any, Unheeded]) -> list[XCClawTask]:
    """List the tasks, oldest first."""
    found = await call.engine.runs(RunFilter(label=LABEL), Page(limit=LISTED))
    return [_shown(run) for run in reversed(found)]


@ROUTES.add("GET", f"{HOME}/task/{{id}}", scope=Scope.READ, query=Unheeded, answer=XCClawTask)
async def show_xcclaw_task(call: Call[Any, Unheeded]) -> XCClawTask:
    """Show a task."""
    return _task(call, await _find(call))


@ROUTES.add("POST", f"{HOME}/task/{{id}}/execute", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=XCClawTask)
async def execute_xcclaw_task(call: Call[Any, Unheeded]) -> XCClawTask:
    """Execute a task and wait for its end, whichever that is."""
    run = await _execute(call)
    return _task(call, await call.engine.wait(run.id, call.around.config.limits.wait_seconds))


@ROUTES.add(
    "POST",
    f"{HOME}/task/{{id}}/execute_async",
    scope=Scope.WRITE,
    body=Unheeded,
    query=Unheeded,
    answer=XCClawTask,
    status=202,
)
async def execute_xcclaw_task_async(call: Call[Any, Unheeded]) -> XCClawTask:
    """Execute a task, and do not wait for its end."""
    return _task(call, await _execute(call))


@ROUTES.add("POST", f"{HOME}/task/{{id}}/abort", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=XCClawTask)
async def abort_xcclaw_task(call: Call[Any, Unheeded]) -> XCClawTask:
    """Abort a task that has not ended."""
    run = await _find(call)
    if run.status.final:
        raise Conflict(f"the task has ended already: it is {_STATUSES[run.status]}.")
    # Shielded: a caller who goes away in between must not leave a run at work that is marked to end.
    run = await asyncio.shield(call.engine.cancel(run.id, call.idempotency()))
    try:
        run = await call.engine.wait(run.id, ABORTING)
    except TimedOut:
        run = await call.engine.run(run.id)
    return _task(call, run)


@ROUTES.add("GET", f"{HOME}/history", scope=Scope.READ, query=HistoryLimit, answer=list[XCClawTask])
async def xcclaw_history(call: Call[Any, HistoryLimit]) -> list[XCClawTask]:
    """List the tasks that ended, the last to end first."""
    return [_shown(run) for run in await call.engine.finished(LABEL, call.query.limit)]


@ROUTES.add("DELETE", f"{HOME}/history", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=Hidden)
async def clear_xcclaw_history(call: Call[Any, Unheeded]) -> Hidden:
    """Hide the tasks that have ended from the history; they are kept."""
    return Hidden(deleted=await call.engine.hide_finished(LABEL))


# --- schedules --------------------------------------------------------------------------------


@ROUTES.add(
    "POST", f"{HOME}/schedule", scope=Scope.WRITE, body=NewXCClawSchedule, query=Unheeded, answer=XCClawSchedule
)
async def create_xcclaw_schedule(call: Call[NewXCClawSchedule, Unheeded]) -> XCClawSchedule:
    """Make a schedule; each of its times becomes a task in the schedule's own session."""
    wanted, settings = call.body, call.around.config.cron
    identifier = wanted.id or ids.ulid(call.around.clock()).lower()
    spec = ScheduleSpec(
        name=wanted.name,
        expression=wanted.cron,
        timezone=settings.timezone,
        input=wanted.prompt,
        session=str(SessionKey.of(call.engine.agents.default.id, CHANNEL, identifier)),
        labels={LABEL: TaskType.SCHEDULED},
        max_failures=settings.max_failures,
    )
    try:
        made = await call.engine.schedules.create(spec, identifier, enabled=wanted.enabled, key=call.idempotency())
    except InvalidRequest as error:
        raise InvalidRequest(f"cron: {error.message.removeprefix('schedule: ')}", remedy=error.remedy) from error
    return _schedule(made)


@ROUTES.add("GET", f"{HOME}/schedule", scope=Scope.READ, query=Unheeded, answer=list[XCClawSchedule])
async def list_xcclaw_schedules(call: Call[Any, Unheeded]) -> list[XCClawSchedule]:
    """List the schedules that were made here, oldest first."""
    found = await call.engine.schedules.list(Page(limit=LISTED))
    return [_schedule(one) for one in reversed(found) if LABEL in one.spec.labels]


@ROUTES.add(
    "DELETE",
    f"{HOME}/schedule/{{id}}",
    scope=Scope.WRITE,
    body=Unheeded,
    query=Unheeded,
    answer=ScheduleDeleted,
)
async def delete_xcclaw_schedule(call: Call[Any, Unheeded]) -> ScheduleDeleted:
    """Delete a schedule; the tasks of its times stay."""
    name = call.path["id"]
    if LABEL not in (await call.engine.schedules.find(name)).spec.labels:
        raise JobNotFound(f"there is no schedule {name[:64]!r}.")
    await call.engine.schedules.delete(name)
    return ScheduleDeleted(deleted=name)


def _schedule(of: Schedule) -> XCClawSchedule:
    return XCClawSchedule(
        id=of.id,
        name=of.spec.name,
        cron=of.spec.expression,
        prompt=of.spec.input,
        enabled=of.enabled,
        next_run=_moment(of.next_at) if of.enabled else None,
        created_at=times.rfc3339(of.created),
    )


# --- persistent sessions ----------------------------------------------------------------------


@ROUTES.add("POST", f"{HOME}/persistent", scope=Scope.WRITE, body=NameGiven, query=NameGiven, answer=PersistentSession)
async def create_persistent_session(call: Call[NameGiven, NameGiven]) -> PersistentSession:
    """Make a session with a name, given in the query or in the body."""
    name = call.query.name or call.body.name
    if not name:
        raise InvalidRequest("name: say what the session is called, in the query or in the body.")
    return _persistent(await call.engine.named.create(CHANNEL, name, call.idempotency()))


@ROUTES.add("GET", f"{HOME}/persistent", scope=Scope.READ, query=Unheeded, answer=list[PersistentSession])
async def list_persistent_sessions(call: Call[Any, Unheeded]) -> list[PersistentSession]:
    """List the sessions with a name, oldest first."""
    return [_persistent(found) for found in await call.engine.named.list(CHANNEL)]


@ROUTES.add(
    "DELETE", f"{HOME}/persistent/{{id}}", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=SessionDeleted
)
async def delete_persistent_session(call: Call[Any, Unheeded]) -> SessionDeleted:
    """Delete a session; what is at work in it is aborted."""
    await asyncio.shield(call.engine.named.delete(CHANNEL, call.path["id"]))
    return SessionDeleted(deleted=call.path["id"])


@ROUTES.add(
    "POST",
    f"{HOME}/persistent/{{id}}/message",
    scope=Scope.WRITE,
    body=TextGiven,
    query=TextGiven,
    answer=SessionReply,
)
async def tell_persistent_session(call: Call[TextGiven, TextGiven]) -> SessionReply:
    """Say something in a session and wait for the reply."""
    named, run = await _tell(call)
    ended = await call.engine.wait(run.id, call.around.config.limits.wait_seconds)
    return SessionReply(session_id=named.id, reply=views.result(ended))


@ROUTES.add(
    "POST",
    f"{HOME}/persistent/{{id}}/message_async",
    scope=Scope.WRITE,
    body=TextGiven,
    query=TextGiven,
    answer=SessionTask,
    status=202,
)
async def tell_persistent_session_async(call: Call[TextGiven, TextGiven]) -> SessionTask:
    """Say something in a session; the task tells the reply."""
    named, run = await _tell(call)
    return SessionTask(session_id=named.id, task_id=run.id)


async def _tell(call: Call[TextGiven, TextGiven]) -> tuple[Named, Run]:
    text = call.query.text or call.body.text
    if not text:
        raise InvalidRequest("text: say something, in the query or in the body.")
    named = await call.engine.named.find(CHANNEL, call.path["id"])
    spec = _spec(_parsed(named.key), TaskType.PERSISTENT, text)
    run = (await call.engine.submit(spec, call.idempotency())).run
    call.headers["X-Run-Id"] = run.id
    return named, run


# --- changes ----------------------------------------------------------------------------------


@ROUTES.add("GET", f"{HOME}/ws", scope=Scope.READ, query=Ticketed, status=101, socket=True)
async def xcclaw_socket(call: Call[Any, Ticketed]) -> web.StreamResponse:
    """Follow every change of a task over a WebSocket."""
    return await sockets.serve(call, _updates(call.engine, await call.engine.changes(None)))


async def _updates(engine: Engine, changes: AsyncIterator[Change]) -> AsyncGenerator[bytes, None]:
    async for change in changes:
        task = await _changed(engine, change)
        if task is not None:
            yield msgspec.json.encode({"type": "task_update", "task": task})


async def _changed(engine: Engine, change: Change) -> XCClawTask | None:
    """Return the task that a change is about, in the status that the change tells; None for another noun."""
    if change.topic != "run":
        return None
    try:
        run = await engine.run(change.ref)
    except RunNotFound:
        return None
    if LABEL not in run.spec.labels:
        return None
    status = Status(change.state)
    if not status.final:
        run = msgspec.structs.replace(run, result=None, error=None, finished=None)
    return _shown(msgspec.structs.replace(run, status=status))


# --- their words ------------------------------------------------------------------------------


async def _key(call: Call[NewXCClawTask, Unheeded], wanted: NewXCClawTask) -> SessionKey:
    """Return the session that a task is to be done in."""
    agent = call.engine.agents.default.id
    if wanted.type is TaskType.PERSISTENT and wanted.session_id:
        return _parsed((await call.engine.named.find(CHANNEL, wanted.session_id)).key)
    if wanted.type is TaskType.SCHEDULED:
        return SessionKey.of(agent, CHANNEL, wanted.session_id or SCHEDULED)
    return SessionKey.of(agent, CHANNEL, ids.ulid(call.around.clock()).lower())


def _parsed(text: str) -> SessionKey:
    key = SessionKey.parse(text)
    assert key is not None, "named sessions have whole keys"
    return key


def _spec(key: SessionKey, kind: TaskType, text: str) -> RunSpec:
    return RunSpec(source=Source.TASK, agent=key.agent, session=str(key), input=text, labels={LABEL: kind})


async def _find(call: Call[Any, Any]) -> Run:
    """Return the task that the path names.

    Raises:
        RunNotFound: there is none.
    """
    name = call.path["id"]
    try:
        run = await call.engine.run(name)
    except RunNotFound:
        run = None
    if run is None or run.id != name or LABEL not in run.spec.labels:
        raise RunNotFound(f"there is no task {name[:64]!r}.")
    return run


async def _execute(call: Call[Any, Any]) -> Run:
    run, key = await _find(call), call.idempotency()
    if run.status is not Status.HELD and key is None:
        raise Conflict(f"the task was executed already: it is {_STATUSES[run.status]}.")
    return await call.engine.release(run.id, key)


def _task(call: Call[Any, Any], run: Run) -> XCClawTask:
    call.headers["X-Run-Id"] = run.id
    return _shown(run)


def _shown(run: Run) -> XCClawTask:
    key = _parsed(run.spec.session)
    return XCClawTask(
        id=run.id,
        type=run.spec.labels[LABEL],
        prompt=run.spec.input,
        status=_STATUSES[run.status],
        session_id=key.chat if key.channel == CHANNEL else run.spec.session,
        result=run.result,
        error=run.error,
        created_at=times.rfc3339(run.created),
        started_at=_moment(run.started),
        finished_at=_moment(run.finished),
    )


def _persistent(of: Named) -> PersistentSession:
    return PersistentSession(id=of.id, name=of.name, created_at=times.rfc3339(of.created))


def _moment(at: int | None) -> str | None:
    return None if at is None else times.rfc3339(at)
