"""XCClaw's shapes and statuses of tasks, made from our runs and sessions."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct

from gateway.api import views
from gateway.api.routing import Call, Dialect
from gateway.domain import times
from gateway.domain.run import Run, RunSpec, Source, Status
from gateway.domain.schedule import ScheduleSpec
from gateway.domain.session import SessionKey

XCCLAW_PATH = "/api/xcclaw"
#: the channel in the keys of its sessions
XCCLAW_CHANNEL = "xcclaw"
#: label of its tasks; the value is the type of the task
XCCLAW_LABEL = "xcclaw"
#: the most rows in a list: the newest ones
MAX_XCCLAW_ROWS = 10_000

#: session of scheduled tasks that name none
SCHEDULED_CHAT = "scheduled"

XCCLAW_STATUSES = {
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


XCCLAW_DIALECT = Dialect(
    error_type=XCClawError, render_error=lambda error: XCClawError(str(error)), path_prefix=XCCLAW_PATH
)


class TaskType(StrEnum):
    #: in a session of its own, which is deleted when the task ends
    EPHEMERAL = "ephemeral"
    #: in a session that is kept
    PERSISTENT = "persistent"
    SCHEDULED = "scheduled"


class XCClawTask(Struct, frozen=True, kw_only=True):
    #: id of the task
    id: str
    #: ephemeral, persistent or scheduled
    type: str
    #: what the agent is told
    prompt: str
    #: pending, running, completed, failed or aborted
    status: str
    #: id of the session that it runs in
    session_id: str
    #: the answer; null if there is none
    result: str | None
    error: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None


def render_xcclaw_task(run: Run) -> XCClawTask:
    """Return a run as a task of XCClaw."""
    key = parse_session_key(run.spec.session)
    return XCClawTask(
        id=run.id,
        type=run.spec.labels[XCCLAW_LABEL],
        prompt=run.spec.input,
        status=XCCLAW_STATUSES[run.status],
        session_id=key.chat if key.channel == XCCLAW_CHANNEL else run.spec.session,
        result=run.result,
        error=run.error,
        created_at=times.format_rfc3339(run.created),
        started_at=views.render_time(run.started),
        finished_at=views.render_time(run.finished),
    )


def parse_session_key(text: str) -> SessionKey:
    """Return the key of a session that was made through this API."""
    key = SessionKey.parse_key(text)
    assert key is not None, "named sessions have whole keys"
    return key


def build_run_spec(key: SessionKey, kind: TaskType, text: str) -> RunSpec:
    """Return the run of a task."""
    return RunSpec(source=Source.TASK, agent=key.agent, session=str(key), input=text, labels={XCCLAW_LABEL: kind})


def build_schedule_spec(call: Call[Any, Any], identifier: str, name: str, cron: str, prompt: str) -> ScheduleSpec:
    """Return the definition of a schedule, which has a session of its own."""
    settings = call.server.config.cron
    return ScheduleSpec(
        name=name,
        expression=cron,
        timezone=settings.timezone,
        input=prompt,
        session=str(SessionKey.from_parts(call.engine.agents.default_agent.id, XCCLAW_CHANNEL, identifier)),
        labels={XCCLAW_LABEL: TaskType.SCHEDULED},
        max_failures=settings.max_failures,
    )
