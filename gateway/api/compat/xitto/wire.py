"""xitto-kernel's shapes of tasks, results, events and errors, made from our runs."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from gateway.api import views
from gateway.api.routing import Call, Dialect, Unheeded
from gateway.domain import ids, times
from gateway.domain.event import AnyEventData, Text, Tool, ToolEnd
from gateway.domain.run import Mode, Outcome, Run, RunSpec, Source
from gateway.domain.run import Status as RunStatus
from gateway.domain.session import SessionKey
from gateway.errors import AgentNotFound, InvalidRequest

#: the channel in the keys of sessions that are named here
XITTO_CHANNEL = "xitto"
#: label of background tasks; the value is the pack as the client named it
XITTO_LABEL = "xitto"
#: the pack that is used when a request names none
GENERAL_PACK = "general"

XITTO_STATUSES = {
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


class Job(Struct, frozen=True, kw_only=True):
    """A job for an agent."""

    #: an agent's id or slug; `general` is the default agent
    pack: str | None = None
    #: name of the session; a new session when left out
    session_id: str | None = field(default=None, name="sessionId")
    #: `goal` asks the agent again until the goal is reached; every other value is one turn
    mode: str | None = None
    #: what the agent is told
    input: str | None = None
    #: in goal mode: the goal; `input` when left out
    goal: str | None = None


class BackgroundJob(Job, frozen=True, kw_only=True):
    """A job for the background."""

    #: URL that receives the result
    webhook: str | None = None


class XittoUsage(Struct, frozen=True):
    #: tokens that the model read
    input: int
    #: tokens that it wrote
    output: int


class XittoResult(Struct, frozen=True, kw_only=True):
    """An agent's answer."""

    #: name of the session; send it again to continue the conversation
    session_id: str = field(name="sessionId")
    #: the agent's answer
    text: str
    usage: XittoUsage
    #: in goal mode: how often the agent was asked
    rounds: int | None
    #: in goal mode: whether the goal was reached
    done: bool | None


class XittoBacklog(Struct, frozen=True, kw_only=True):
    #: background tasks that are running
    active: int
    #: background tasks that wait
    queued: int
    #: all background tasks, with those that have ended
    total: int


class XittoAccepted(XittoBacklog, frozen=True, kw_only=True):
    """The task is on disk and will be done."""

    #: id of the task
    task_id: str = field(name="taskId")
    #: queued or running
    status: str


class XittoTask(Struct, frozen=True, kw_only=True):
    """A background task."""

    #: id of the task
    task_id: str = field(name="taskId")
    #: queued, running, done or error
    status: str
    #: the agent, as the request named it
    pack: str
    #: `turn` or `goal`
    mode: str
    #: name of its session
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
    """The body of a task's webhook."""

    task_id: str = field(name="taskId")
    status: str
    error: str | None
    session_id: str = field(name="sessionId")
    text: str | None
    usage: XittoUsage
    rounds: int | None
    done: bool | None
    finished_at: str | None = field(name="finishedAt")


XITTO_DIALECT = Dialect(error_type=XittoError, render_error=lambda error: XittoError(str(error)))


class UnknownPack(InvalidRequest):
    """There is no such pack."""


def build_spec(call: Call[Any, Unheeded], source: Source) -> RunSpec:
    """Return the run for a job.

    Raises:
        InvalidRequest: there is no such pack, the text is missing, or the session cannot have that name.
    """
    job: Job = call.body
    pack = job.pack or GENERAL_PACK
    agents = call.engine.agents
    # An agent that the caller names, and does not reach, is refused: the default agent does not take its place.
    is_agent = agents.knows_name(pack) if job.pack else agents.find_by_name(pack) is not None
    try:
        agent = agents.choose_agent(pack if is_agent or pack != GENERAL_PACK else None)
    except AgentNotFound:
        packs = ", ".join(agents.list_pack_names(GENERAL_PACK))
        raise UnknownPack(f"unknown pack {pack[:64]!r}; there are: {packs[:1000]}") from None
    mode = Mode.GOAL if job.mode == Mode.GOAL else Mode.TURN
    text = (job.goal or job.input) if mode is Mode.GOAL else job.input
    if not text:
        raise InvalidRequest(
            "goal: say what is to be reached." if mode is Mode.GOAL else "input: say what is to be done."
        )
    chat = job.session_id or "s" + ids.make_ulid(call.server.clock()).lower()
    key = call.engine.sessions.resolve_key(chat, XITTO_CHANNEL, agent.id, field="sessionId")
    return RunSpec(
        source=source,
        agent=key.agent,
        session=str(key),
        input=text,
        mode=mode,
        labels={XITTO_LABEL: pack} if source is Source.BACKGROUND else {},
    )


def render_event(data: AnyEventData) -> dict[str, Any] | None:
    """Return an event of a running run in xitto-kernel's shape; None for the kinds that it does not have."""
    match data:
        case Text(delta=delta):
            return {"type": "text", "delta": delta}
        case Tool(name=name, args=args):
            return {"type": "tool", "name": name, "args": args}
        case ToolEnd(name=name, is_error=is_error):
            return {"type": "tool_end", "name": name, "isError": is_error}
    return None


def render_task(run: Run) -> dict[str, Any]:
    """Return the fields of a background task."""
    return {
        "task_id": run.id,
        "status": XITTO_STATUSES[run.status],
        "pack": run.spec.labels.get(XITTO_LABEL, GENERAL_PACK),
        "mode": str(run.spec.mode),
        "session_id": _callers_session_name(run),
        "created_at": times.format_rfc3339(run.created),
        "started_at": views.render_time(run.started),
        "finished_at": views.render_time(run.finished),
        "error": explain_failure(run),
    }


def render_result(run: Run) -> XittoResult | None:
    """Return the result of a run; None if it has not succeeded."""
    if run.outcome is not Outcome.COMPLETED:
        return None
    return XittoResult(
        session_id=_callers_session_name(run),
        text=run.result or "",
        usage=_render_xitto_usage(run),
        rounds=run.rounds,
        done=run.done,
    )


def encode_finished(run: Run) -> bytes:
    """Return the body of a task's webhook."""
    told = XittoFinished(
        task_id=run.id,
        status=XITTO_STATUSES[run.status],
        error=explain_failure(run),
        session_id=_callers_session_name(run),
        text=run.result,
        usage=_render_xitto_usage(run),
        rounds=run.rounds,
        done=run.done,
        finished_at=views.render_time(run.finished),
    )
    return _encode(told)


def _render_xitto_usage(run: Run) -> XittoUsage:
    return XittoUsage(run.usage.input, run.usage.output)


def explain_failure(run: Run) -> str | None:
    """Return why a run has failed; None if it has not."""
    if run.status is RunStatus.CANCELLED:
        return "the task was cancelled"
    return run.error


def _callers_session_name(run: Run) -> str:
    """Return the session of a run by the name that its clients use."""
    key = SessionKey.parse_key(run.spec.session)
    return key.chat if key is not None and key.channel == XITTO_CHANNEL else run.spec.session
