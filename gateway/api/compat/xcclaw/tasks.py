"""XCClaw's tasks, which are created first and executed later, and the history of ended tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway.api import fields, reply
from gateway.api.compat.xcclaw.wire import (
    MAX_XCCLAW_ROWS,
    SCHEDULED_CHAT,
    XCCLAW_CHANNEL,
    XCCLAW_DIALECT,
    XCCLAW_LABEL,
    XCCLAW_PATH,
    XCCLAW_STATUSES,
    TaskType,
    XCClawTask,
    build_run_spec,
    parse_session_key,
    render_xcclaw_task,
)
from gateway.api.routing import Call, Routes, Unheeded
from gateway.domain import ids
from gateway.domain.run import Run, RunFilter, Status
from gateway.domain.session import SessionKey
from gateway.domain.token import Scope
from gateway.errors import Conflict, RunNotFound, TimedOut

#: seconds that the answer waits for an aborted task to end
ABORT_WAIT_SECONDS = 5.0

ROUTES = Routes("xcclaw", dialect=XCCLAW_DIALECT)


class NewXCClawTask(Struct, frozen=True, kw_only=True):
    """A task that is done when it is executed."""

    #: what its session is: its own, one that is kept, or that of schedules
    type: TaskType = TaskType.EPHEMERAL
    #: what the agent is told
    prompt: fields.Prompt
    #: a persistent session, for a persistent task; a new session when left out
    session_id: str | None = None


class HistoryLimit(Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=MAX_XCCLAW_ROWS)] = 10


class Hidden(Struct, frozen=True, kw_only=True):
    #: how many tasks were hidden
    deleted: int


@ROUTES.add(
    "POST", f"{XCCLAW_PATH}/task", scope=Scope.WRITE, body=NewXCClawTask, query=Unheeded, answer=XCClawTask, status=201
)
async def create_xcclaw_task(call: Call[NewXCClawTask, Unheeded]) -> XCClawTask:
    """Create a task. It does not start until it is executed."""
    wanted = call.body
    key = await _choose_session_key(call, wanted)
    spec = msgspec.structs.replace(
        build_run_spec(key, wanted.type, wanted.prompt), held=True, ephemeral=wanted.type is TaskType.EPHEMERAL
    )
    return _answer_task(call, (await call.engine.runs.submit_run(spec, call.read_idempotency_key())).run)


@ROUTES.add("GET", f"{XCCLAW_PATH}/task", scope=Scope.READ, query=Unheeded, answer=list[XCClawTask])
async def list_xcclaw_tasks(call: Call[Any, Unheeded]) -> web.StreamResponse:
    """List the tasks, oldest first."""
    return await _send_tasks(call, call.engine.run_lists.iterate_runs(RunFilter(label=XCCLAW_LABEL), MAX_XCCLAW_ROWS))


@ROUTES.add("GET", f"{XCCLAW_PATH}/task/{{id}}", scope=Scope.READ, query=Unheeded, answer=XCClawTask)
async def show_xcclaw_task(call: Call[Any, Unheeded]) -> XCClawTask:
    """Show a task."""
    return _answer_task(call, await _find_task(call))


@ROUTES.add(
    "POST", f"{XCCLAW_PATH}/task/{{id}}/execute", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=XCClawTask
)
async def execute_xcclaw_task(call: Call[Any, Unheeded]) -> XCClawTask:
    """Execute a task and wait for its end, whether it succeeds or not."""
    run = await _execute_task(call)
    return _answer_task(call, await call.wait_for_run(run.id, call.server.config.limits.wait_seconds))


@ROUTES.add(
    "POST",
    f"{XCCLAW_PATH}/task/{{id}}/execute_async",
    scope=Scope.WRITE,
    body=Unheeded,
    query=Unheeded,
    answer=XCClawTask,
    status=202,
)
async def execute_xcclaw_task_async(call: Call[Any, Unheeded]) -> XCClawTask:
    """Execute a task without waiting for its end."""
    return _answer_task(call, await _execute_task(call))


@ROUTES.add(
    "POST", f"{XCCLAW_PATH}/task/{{id}}/abort", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=XCClawTask
)
async def abort_xcclaw_task(call: Call[Any, Unheeded]) -> XCClawTask:
    """Abort a task that has not ended."""
    run = await _find_task(call)
    if run.status.is_final:
        raise Conflict(f"the task has ended already: it is {XCCLAW_STATUSES[run.status]}.")
    # Shielded: if the client disconnects, a run that is marked as cancelled must still be stopped.
    run = await asyncio.shield(call.engine.runs.cancel_run(run.id, call.read_idempotency_key()))
    try:
        run = await call.wait_for_run(run.id, ABORT_WAIT_SECONDS)
    except TimedOut:
        run = await call.engine.runs.get_run(run.id)
    return _answer_task(call, run)


@ROUTES.add("GET", f"{XCCLAW_PATH}/history", scope=Scope.READ, query=HistoryLimit, answer=list[XCClawTask])
async def xcclaw_history(call: Call[Any, HistoryLimit]) -> web.StreamResponse:
    """List the tasks that have ended, the latest end first."""
    return await _send_tasks(call, call.engine.run_lists.iterate_finished_runs(XCCLAW_LABEL, call.query.limit))


@ROUTES.add("DELETE", f"{XCCLAW_PATH}/history", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=Hidden)
async def clear_xcclaw_history(call: Call[Any, Unheeded]) -> Hidden:
    """Hide the tasks that have ended from the history; the tasks themselves are kept."""
    return Hidden(deleted=await call.engine.run_lists.hide_finished_runs(XCCLAW_LABEL))


async def _choose_session_key(call: Call[NewXCClawTask, Unheeded], wanted: NewXCClawTask) -> SessionKey:
    """Return the session for a new task."""
    agent = call.engine.agents.default_agent.id
    if wanted.type is TaskType.PERSISTENT and wanted.session_id:
        return parse_session_key((await call.engine.named_sessions.get_session(XCCLAW_CHANNEL, wanted.session_id)).key)
    if wanted.type is TaskType.SCHEDULED:
        return SessionKey.from_parts(agent, XCCLAW_CHANNEL, wanted.session_id or SCHEDULED_CHAT, field="session_id")
    return SessionKey.from_parts(agent, XCCLAW_CHANNEL, ids.make_ulid(call.server.clock()).lower())


async def _find_task(call: Call[Any, Any]) -> Run:
    """Return the task that the path names.

    Raises:
        RunNotFound: there is no such task.
    """
    name = call.path["id"]
    try:
        run = await call.engine.runs.get_run(name)
    except RunNotFound:
        run = None
    if run is None or run.id != name or XCCLAW_LABEL not in run.spec.labels:
        raise RunNotFound(f"there is no task {name[:64]!r}.")
    return run


async def _execute_task(call: Call[Any, Any]) -> Run:
    run, key = await _find_task(call), call.read_idempotency_key()
    if run.status is not Status.HELD and key is None:
        raise Conflict(f"the task was executed already: it is {XCCLAW_STATUSES[run.status]}.")
    return await call.engine.runs.release_run(run.id, key)


async def _send_tasks(call: Call[Any, Any], runs: AsyncGenerator[Run, None]) -> web.StreamResponse:
    """Answer with tasks as they are read: all of them may be more than fits into memory."""

    async def render_tasks() -> AsyncGenerator[XCClawTask, None]:
        async with aclosing(runs):
            async for run in runs:
                yield render_xcclaw_task(run)

    return await reply.send_list(call.request, render_tasks(), headers=call.headers)


def _answer_task(call: Call[Any, Any], run: Run) -> XCClawTask:
    call.headers["X-Run-Id"] = run.id
    return render_xcclaw_task(run)
