"""XCClaw's tasks, which are created first and executed later, and the history of ended tasks."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from gateway.api import fields
from gateway.api.compat.xcclaw.wire import (
    CHANNEL,
    DIALECT,
    HOME,
    LABEL,
    LISTED,
    STATUSES,
    TaskType,
    XCClawTask,
    parsed,
    run_spec,
    shown,
)
from gateway.api.routing import Call, Routes, Unheeded
from gateway.domain import ids
from gateway.domain.page import Page
from gateway.domain.run import Run, RunFilter, Status
from gateway.domain.session import SessionKey
from gateway.domain.token import Scope
from gateway.errors import Conflict, RunNotFound, TimedOut

#: session of scheduled tasks that name none
SCHEDULED = "scheduled"
#: seconds that the answer waits for an aborted task to end
ABORTING = 5.0

ROUTES = Routes("xcclaw", dialect=DIALECT)


class NewXCClawTask(Struct, frozen=True, kw_only=True):
    """A task that is done when it is executed."""

    type: TaskType = TaskType.EPHEMERAL
    prompt: fields.Prompt
    #: a persistent session, for a persistent task; a new session when left out
    session_id: str | None = None


class HistoryLimit(Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=LISTED)] = 10


class Hidden(Struct, frozen=True, kw_only=True):
    deleted: int


@ROUTES.add(
    "POST", f"{HOME}/task", scope=Scope.WRITE, body=NewXCClawTask, query=Unheeded, answer=XCClawTask, status=201
)
async def create_xcclaw_task(call: Call[NewXCClawTask, Unheeded]) -> XCClawTask:
    """Create a task. It does not start until it is executed."""
    wanted = call.body
    key = await _key(call, wanted)
    spec = msgspec.structs.replace(
        run_spec(key, wanted.type, wanted.prompt), held=True, ephemeral=wanted.type is TaskType.EPHEMERAL
    )
    return _task(call, (await call.engine.submit(spec, call.idempotency())).run)


@ROUTES.add("GET", f"{HOME}/task", scope=Scope.READ, query=Unheeded, answer=list[XCClawTask])
async def list_xcclaw_tasks(call: Call[Any, Unheeded]) -> list[XCClawTask]:
    """List the tasks, oldest first."""
    found = await call.engine.runs(RunFilter(label=LABEL), Page(limit=LISTED))
    return [shown(run) for run in reversed(found)]


@ROUTES.add("GET", f"{HOME}/task/{{id}}", scope=Scope.READ, query=Unheeded, answer=XCClawTask)
async def show_xcclaw_task(call: Call[Any, Unheeded]) -> XCClawTask:
    """Show a task."""
    return _task(call, await _find(call))


@ROUTES.add("POST", f"{HOME}/task/{{id}}/execute", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=XCClawTask)
async def execute_xcclaw_task(call: Call[Any, Unheeded]) -> XCClawTask:
    """Execute a task and wait for its end, whether it succeeds or not."""
    run = await _execute(call)
    return _task(call, await call.engine.wait(run.id, call.server.config.limits.wait_seconds))


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
    """Execute a task without waiting for its end."""
    return _task(call, await _execute(call))


@ROUTES.add("POST", f"{HOME}/task/{{id}}/abort", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=XCClawTask)
async def abort_xcclaw_task(call: Call[Any, Unheeded]) -> XCClawTask:
    """Abort a task that has not ended."""
    run = await _find(call)
    if run.status.final:
        raise Conflict(f"the task has ended already: it is {STATUSES[run.status]}.")
    # Shielded: if the client disconnects, a run that is marked as cancelled must still be stopped.
    run = await asyncio.shield(call.engine.cancel(run.id, call.idempotency()))
    try:
        run = await call.engine.wait(run.id, ABORTING)
    except TimedOut:
        run = await call.engine.run(run.id)
    return _task(call, run)


@ROUTES.add("GET", f"{HOME}/history", scope=Scope.READ, query=HistoryLimit, answer=list[XCClawTask])
async def xcclaw_history(call: Call[Any, HistoryLimit]) -> list[XCClawTask]:
    """List the tasks that have ended, the latest end first."""
    return [shown(run) for run in await call.engine.finished(LABEL, call.query.limit)]


@ROUTES.add("DELETE", f"{HOME}/history", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=Hidden)
async def clear_xcclaw_history(call: Call[Any, Unheeded]) -> Hidden:
    """Hide the tasks that have ended from the history; the tasks themselves are kept."""
    return Hidden(deleted=await call.engine.hide_finished(LABEL))


async def _key(call: Call[NewXCClawTask, Unheeded], wanted: NewXCClawTask) -> SessionKey:
    """Return the session for a new task."""
    agent = call.engine.agents.default.id
    if wanted.type is TaskType.PERSISTENT and wanted.session_id:
        return parsed((await call.engine.named.find(CHANNEL, wanted.session_id)).key)
    if wanted.type is TaskType.SCHEDULED:
        return SessionKey.of(agent, CHANNEL, wanted.session_id or SCHEDULED)
    return SessionKey.of(agent, CHANNEL, ids.ulid(call.server.clock()).lower())


async def _find(call: Call[Any, Any]) -> Run:
    """Return the task that the path names.

    Raises:
        RunNotFound: there is no such task.
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
        raise Conflict(f"the task was executed already: it is {STATUSES[run.status]}.")
    return await call.engine.release(run.id, key)


def _task(call: Call[Any, Any], run: Run) -> XCClawTask:
    call.headers["X-Run-Id"] = run.id
    return shown(run)
