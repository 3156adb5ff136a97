"""The door of xitto-kernel's server, version 0.3.3: a pack is an agent, a task is a run in the background.

Its clients need another base URL only; `docs/clients/xitto.md` says what differs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct, field

from gateway.api import reply, sse
from gateway.api.routing import Call, Dialect, Routes, Unheeded
from gateway.domain import ids, times
from gateway.domain.event import AnyHappening, End, Event, Status, Text, Tool, ToolEnd
from gateway.domain.page import Page
from gateway.domain.run import Mode, Outcome, Run, RunFilter, RunSpec, Source
from gateway.domain.run import Status as RunStatus
from gateway.domain.session import SessionKey
from gateway.domain.token import Scope
from gateway.engine.engine import Engine
from gateway.errors import AgentNotFound, GatewayError, InvalidRequest, NotFound, RunNotFound, Unavailable

#: the channel of sessions that are named here
CHANNEL = "xitto"
#: label of background tasks: its value is the pack, as the client named it
LABEL = "xitto"
#: the pack that is meant when none is named
GENERAL = "general"
#: background tasks that a list shows: the newest ones
LISTED = 10_000

_STATUSES = {
    RunStatus.HELD: "queued",
    RunStatus.QUEUED: "queued",
    RunStatus.RUNNING: "running",
    RunStatus.SUCCEEDED: "done",
    RunStatus.FAILED: "error",
    RunStatus.CANCELLED: "error",
}
_encode = msgspec.json.Encoder().encode


class XittoError(Struct, frozen=True):
    """The body of every error here."""

    error: str


ROUTES = Routes("xitto", dialect=Dialect(error=XittoError, complain=lambda error: XittoError(str(error))))


class Job(Struct, frozen=True, kw_only=True):
    """What is to be done."""

    #: an agent's id or slug; `general` is the default agent
    pack: str | None = None
    #: name of the conversation; a fresh one when left out
    session_id: str | None = field(default=None, name="sessionId")
    #: `goal` asks again until the goal is reached; everything else is a turn
    mode: str | None = None
    input: str | None = None
    #: in goal mode; else `input` is meant
    goal: str | None = None


class BackgroundJob(Job, frozen=True, kw_only=True):
    """What is to be done behind others."""

    #: a URL that is sent the result
    webhook: str | None = None


class XittoUsage(Struct, frozen=True):
    input: int
    output: int


class XittoResult(Struct, frozen=True, kw_only=True):
    """What an agent said."""

    session_id: str = field(name="sessionId")
    text: str
    usage: XittoUsage
    #: of a goal: how often the agent was asked
    rounds: int | None
    #: of a goal: whether it was reached
    done: bool | None


class XittoBacklog(Struct, frozen=True, kw_only=True):
    active: int
    queued: int
    total: int


class XittoAccepted(XittoBacklog, frozen=True, kw_only=True):
    """The task is on disk and will be done."""

    task_id: str = field(name="taskId")
    #: queued or running
    status: str


class XittoTask(Struct, frozen=True, kw_only=True):
    """A background task."""

    task_id: str = field(name="taskId")
    #: queued, running, done or error
    status: str
    pack: str
    mode: str
    session_id: str = field(name="sessionId")
    created_at: str = field(name="createdAt")
    started_at: str | None = field(name="startedAt")
    finished_at: str | None = field(name="finishedAt")
    error: str | None


class XittoTaskShown(XittoTask, frozen=True, kw_only=True):
    """A background task with its result."""

    result: XittoResult | None


class XittoTasks(XittoBacklog, frozen=True, kw_only=True):
    #: oldest first
    tasks: list[XittoTask]


class XittoFinished(Struct, frozen=True, kw_only=True):
    """What a task's webhook is sent."""

    task_id: str = field(name="taskId")
    status: str
    error: str | None
    session_id: str = field(name="sessionId")
    text: str | None
    usage: XittoUsage
    rounds: int | None
    done: bool | None
    finished_at: str | None = field(name="finishedAt")


# --- answered when it is done -----------------------------------------------------------------


@ROUTES.add("POST", "/v1/run", scope=Scope.WRITE, body=Job, query=Unheeded, answer=XittoResult)
async def run_job(call: Call[Job, Unheeded]) -> XittoResult | web.Response:
    """Do something and answer with its result."""
    run = (await call.engine.submit(_spec(call, Source.AGENT), call.idempotency())).run
    call.headers["X-Run-Id"] = run.id
    ended = await call.engine.wait(run.id, call.around.config.limits.wait_seconds)
    result = _result(ended)
    if result is None:
        return reply.json(XittoError(_why(ended) or ""), 500, call.headers)
    return result


@ROUTES.add("POST", "/v1/stream", scope=Scope.WRITE, body=Job, query=Unheeded, streams=True)
async def stream_job(call: Call[Job, Unheeded]) -> web.StreamResponse:
    """Do something and follow it to its result."""
    key = call.idempotency()
    try:
        spec = _spec(call, Source.AGENT)
    except _UnknownPack as error:  # told in the stream, as the seed does
        return await sse.stream(call, _single({"type": "error", "error": str(error)}))
    run = (await call.engine.submit(spec, key)).run
    call.headers["X-Run-Id"] = run.id
    why = Unavailable("the gateway is stopping; the run goes on when it is back.")
    farewell = _line({"type": "error", "error": str(why)})
    return await sse.stream(call, _to_result(call.engine, run), until=call.engine.drained, farewell=farewell)


async def _single(said: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    yield _line(said)


async def _to_result(engine: Engine, run: Run) -> AsyncGenerator[bytes, None]:
    """Yield what the agent says, then `done` with the result, or `error`."""
    try:
        async with aclosing(engine.watch(run.id)) as events:
            async for event in events:
                said = _said(event.data)
                if said is not None:
                    yield _line(said)
        ended = await engine.run(run.id)
    except GatewayError as error:  # too late for a status
        yield _line({"type": "error", "error": str(error)})
        return
    result = _result(ended)
    if result is None:
        yield _line({"type": "error", "error": _why(ended)})
    else:
        yield _line({"type": "done", **msgspec.to_builtins(result)})


# --- in the background ------------------------------------------------------------------------


@ROUTES.add(
    "POST", "/v1/tasks", scope=Scope.WRITE, body=BackgroundJob, query=Unheeded, answer=XittoAccepted, status=202
)
async def add_background_task(call: Call[BackgroundJob, Unheeded]) -> XittoAccepted:
    """Hand in something to be done in the background; its webhook is sent the result."""
    spec = _spec(call, Source.BACKGROUND)
    if call.body.webhook:
        spec = msgspec.structs.replace(spec, deliver=(call.engine.deliveries.webhook(call.body.webhook, "xitto"),))
    run = (await call.engine.submit(spec, call.idempotency())).run
    call.headers["X-Run-Id"] = run.id
    backlog = await call.engine.backlog()
    return XittoAccepted(
        task_id=run.id,
        status=_STATUSES[run.status],
        active=backlog.active,
        queued=backlog.queued,
        total=backlog.total,
    )


@ROUTES.add("GET", "/v1/tasks", scope=Scope.READ, query=Unheeded, answer=XittoTasks)
async def list_background_tasks(call: Call[Any, Unheeded]) -> XittoTasks:
    """List background tasks, oldest first, with how many are at work and wait."""
    found = await call.engine.runs(RunFilter(label=LABEL), Page(limit=LISTED))
    backlog = await call.engine.backlog()
    return XittoTasks(
        tasks=[XittoTask(**_view(run)) for run in reversed(found) if run.spec.source is Source.BACKGROUND],
        active=backlog.active,
        queued=backlog.queued,
        total=backlog.total,
    )


@ROUTES.add("GET", "/v1/tasks/{id}", scope=Scope.READ, query=Unheeded, answer=XittoTaskShown)
async def show_background_task(call: Call[Any, Unheeded]) -> XittoTaskShown:
    """Show a background task, with its result when it has one."""
    run = await _task(call)
    return XittoTaskShown(**_view(run), result=_result(run))


@ROUTES.add("GET", "/v1/tasks/{id}/events", scope=Scope.READ, query=Unheeded, streams=True)
async def background_task_events(call: Call[Any, Unheeded]) -> web.StreamResponse:
    """Follow a background task from its beginning, or after `Last-Event-ID`, to its end."""
    run = await _task(call)
    after = sse.resume_point(call, None) or 0
    return await sse.stream(call, _events(call.engine, run, after))


async def _events(engine: Engine, run: Run, after: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(engine.watch(run.id, after)) as events:
        async for event in events:
            said = await _told(engine, event)
            if said is not None:
                yield _line(said, event.n)


async def _told(engine: Engine, event: Event) -> dict[str, Any] | None:
    match event.data:
        case Status(status=status) if event.n > 1:
            return {"type": "status", "status": _STATUSES[RunStatus(status)]}
        case End():
            run = await engine.run(event.run)
            return {"type": "end", "status": _STATUSES[run.status], "result": _result(run), "error": _why(run)}
    return _said(event.data)


# --- their words ------------------------------------------------------------------------------


class _UnknownPack(InvalidRequest):
    """There is no such pack."""


def _spec(call: Call[Any, Unheeded], source: Source) -> RunSpec:
    """Return what a job asks for.

    Raises:
        InvalidRequest: there is no such pack, nothing to do, or no such session possible.
    """
    job: Job = call.body
    pack = job.pack or GENERAL
    agents = call.engine.agents
    try:
        agent = agents.choose(None if pack == GENERAL and agents.named(pack) is None else pack)
    except AgentNotFound:
        packs = ", ".join(agents.packs(GENERAL))
        raise _UnknownPack(f"unknown pack {pack[:64]!r}; there are: {packs[:1000]}") from None
    mode = Mode.GOAL if job.mode == Mode.GOAL else Mode.TURN
    text = (job.goal or job.input) if mode is Mode.GOAL else job.input
    if not text:
        raise InvalidRequest(
            "goal: say what is to be reached." if mode is Mode.GOAL else "input: say what is to be done."
        )
    chat = job.session_id or "s" + ids.ulid(call.around.clock()).lower()
    key = call.engine.sessions.key(chat, CHANNEL, agent.id)
    return RunSpec(
        source=source,
        agent=key.agent,
        session=str(key),
        input=text,
        mode=mode,
        labels={LABEL: pack} if source is Source.BACKGROUND else {},
    )


async def _task(call: Call[Any, Unheeded]) -> Run:
    name = call.path["id"]
    try:
        run = await call.engine.run(name)
    except RunNotFound:
        raise NotFound("task not found") from None
    if run.id != name or run.spec.source is not Source.BACKGROUND:
        raise NotFound("task not found")
    return run


def _line(said: dict[str, Any], number: int | str = "") -> bytes:
    return sse.frame(_encode(said), id=number)


def _said(data: AnyHappening) -> dict[str, Any] | None:
    """Return what is told of an event while a run is at work; most kinds are left out."""
    match data:
        case Text(delta=delta):
            return {"type": "text", "delta": delta}
        case Tool(name=name, args=args):
            return {"type": "tool", "name": name, "args": args}
        case ToolEnd(name=name, is_error=is_error):
            return {"type": "tool_end", "name": name, "isError": is_error}
    return None


def _view(run: Run) -> dict[str, Any]:
    return {
        "task_id": run.id,
        "status": _STATUSES[run.status],
        "pack": run.spec.labels.get(LABEL, GENERAL),
        "mode": str(run.spec.mode),
        "session_id": _session(run),
        "created_at": times.rfc3339(run.created),
        "started_at": _moment(run.started),
        "finished_at": _moment(run.finished),
        "error": _why(run),
    }


def _result(run: Run) -> XittoResult | None:
    if run.outcome is not Outcome.COMPLETED:
        return None
    return XittoResult(
        session_id=_session(run), text=run.result or "", usage=_usage(run), rounds=run.rounds, done=run.done
    )


def _finished(run: Run) -> bytes:
    """Return what the webhook of a task is sent."""
    told = XittoFinished(
        task_id=run.id,
        status=_STATUSES[run.status],
        error=_why(run),
        session_id=_session(run),
        text=run.result,
        usage=_usage(run),
        rounds=run.rounds,
        done=run.done,
        finished_at=_moment(run.finished),
    )
    return _encode(told)


def _usage(run: Run) -> XittoUsage:
    return XittoUsage(run.usage.input, run.usage.output)


def _why(run: Run) -> str | None:
    """Return why a run did not succeed; None while it may."""
    if run.status is RunStatus.CANCELLED:
        return "the task was cancelled"
    return run.error


def _session(run: Run) -> str:
    """Return the session as clients of this door name it."""
    key = SessionKey.parse(run.spec.session)
    return key.chat if key is not None and key.channel == CHANNEL else run.spec.session


def _moment(at: int | None) -> str | None:
    return None if at is None else times.rfc3339(at)


BODIES = {"xitto": _finished}
