"""The API of xitto-kernel's server, version 0.3.3: a pack is an agent, a task is a run in the background.

Its clients only need another base URL; `docs/clients/xitto.md` says what differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import msgspec
from aiohttp import web

from gateway.api import reply, sse
from gateway.api.compat.xitto.wire import (
    XITTO_DIALECT,
    XITTO_LABEL,
    XITTO_STATUSES,
    BackgroundJob,
    Job,
    UnknownPack,
    XittoAccepted,
    XittoBacklog,
    XittoError,
    XittoResult,
    XittoTask,
    XittoTasks,
    XittoTaskShown,
    build_spec,
    encode_finished,
    explain_failure,
    render_event,
    render_result,
    render_task,
)
from gateway.api.routing import Call, Routes, Unheeded
from gateway.domain.event import End, Event, Status
from gateway.domain.run import Run, RunFilter, Source
from gateway.domain.run import Status as RunStatus
from gateway.domain.token import Scope
from gateway.engine.engine import Engine
from gateway.errors import GatewayError, NotFound, RunNotFound

#: the most background tasks in a list: the newest ones
MAX_XITTO_TASKS = 10_000
#: seconds in which a task starts when there is room, with room for a busy machine
START_TIMEOUT_SECONDS = 2.0

_encode = msgspec.json.Encoder().encode

ROUTES = Routes("xitto", dialect=XITTO_DIALECT)


# --- in the foreground ------------------------------------------------------------------------


@ROUTES.add("POST", "/v1/run", scope=Scope.WRITE, body=Job, query=Unheeded, answer=XittoResult)
async def run_job(call: Call[Job, Unheeded]) -> XittoResult | web.Response:
    """Run an agent and answer with its result."""
    run = (await call.engine.runs.submit_run(build_spec(call, Source.AGENT), call.read_idempotency_key())).run
    call.headers["X-Run-Id"] = run.id
    ended = await call.wait_for_run(run.id, call.server.config.limits.wait_seconds)
    result = render_result(ended)
    if result is None:
        return reply.json_response(XittoError(explain_failure(ended) or ""), 500, call.headers)
    return result


@ROUTES.add("POST", "/v1/stream", scope=Scope.WRITE, body=Job, query=Unheeded, streams=True)
async def stream_job(call: Call[Job, Unheeded]) -> web.StreamResponse:
    """Run an agent and follow it until its result."""
    key = call.read_idempotency_key()
    try:
        spec = build_spec(call, Source.AGENT)
    except UnknownPack as error:  # the seed also reports it in the stream
        return await sse.send_stream(call, _stream_one({"type": "error", "error": str(error)}))
    run = (await call.engine.runs.submit_run(spec, key)).run
    call.headers["X-Run-Id"] = run.id
    return await sse.send_stream(
        call,
        _stream_to_result(call.engine, run),
        until=call.engine.runs.drained,
        encode_end=lambda why: _encode_line({"type": "error", "error": str(why)}),
        run_id=run.id,
    )


async def _stream_one(said: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    yield _encode_line(said)


async def _stream_to_result(engine: Engine, run: Run) -> AsyncGenerator[bytes, None]:
    """Yield the agent's text and tools, then `done` with the result, or `error`."""
    try:
        async with aclosing(engine.runs.watch_run(run.id)) as events:
            async for event in events:
                said = render_event(event.data)
                if said is not None:
                    yield _encode_line(said)
        ended = await engine.runs.get_run(run.id)
    except GatewayError as error:  # the status has been sent
        yield _encode_line({"type": "error", "error": str(error)})
        return
    result = render_result(ended)
    if result is None:
        yield _encode_line({"type": "error", "error": explain_failure(ended)})
    else:
        yield _encode_line({"type": "done", **msgspec.to_builtins(result)})


# --- in the background ------------------------------------------------------------------------


@ROUTES.add(
    "POST", "/v1/tasks", scope=Scope.WRITE, body=BackgroundJob, query=Unheeded, answer=XittoAccepted, status=202
)
async def add_background_task(call: Call[BackgroundJob, Unheeded]) -> XittoAccepted:
    """Submit a task for the background; its webhook receives the result."""
    spec = build_spec(call, Source.BACKGROUND)
    if call.body.webhook:
        spec = msgspec.structs.replace(
            spec, deliver=(call.engine.deliveries.make_webhook_target(call.body.webhook, "xitto"),)
        )
    run, is_new, _ = msgspec.structs.astuple(await call.engine.runs.submit_run(spec, call.read_idempotency_key()))
    call.headers["X-Run-Id"] = run.id
    backlog = await call.engine.run_lists.count_background_runs()
    if is_new:
        has_room = backlog.active < call.server.config.limits.background  # if not, it may have taken the last place
        run = await (_wait_for_start(call.engine, run) if has_room else call.engine.runs.get_run(run.id))
        backlog = await call.engine.run_lists.count_background_runs()
    return XittoAccepted(
        task_id=run.id,
        status=XITTO_STATUSES[RunStatus.RUNNING if is_new and run.status is not RunStatus.QUEUED else run.status],
        active=backlog.active,
        queued=backlog.queued,
        total=backlog.total,
    )


async def _wait_for_start(engine: Engine, run: Run) -> Run:
    """Return a run when it has started, or as it is after a moment: it may wait for its session or its agent."""
    with suppress(TimeoutError):
        async with asyncio.timeout(START_TIMEOUT_SECONDS), aclosing(engine.runs.watch_run(run.id)) as events:
            async for event in events:
                if isinstance(event.data, Status) and event.data.status != RunStatus.QUEUED:
                    break
    return await engine.runs.get_run(run.id)


@ROUTES.add("GET", "/v1/tasks", scope=Scope.READ, query=Unheeded, answer=XittoTasks)
async def list_background_tasks(call: Call[Any, Unheeded]) -> web.StreamResponse:
    """List background tasks, oldest first, with the numbers of running and queued ones."""
    backlog = await call.engine.run_lists.count_background_runs()
    numbers = _encode(XittoBacklog(active=backlog.active, queued=backlog.queued, total=backlog.total))

    async def render_tasks() -> AsyncGenerator[XittoTask, None]:
        which = RunFilter(label=XITTO_LABEL)
        async for run in call.engine.run_lists.iterate_runs(which, MAX_XITTO_TASKS, shortened=True):
            if run.spec.source is Source.BACKGROUND:
                yield XittoTask(**render_task(run))

    return await reply.send_list(
        call.request, render_tasks(), headers=call.headers, begin=b'{"tasks":[', end=b"]," + numbers[1:]
    )


@ROUTES.add("GET", "/v1/tasks/{id}", scope=Scope.READ, query=Unheeded, answer=XittoTaskShown)
async def show_background_task(call: Call[Any, Unheeded]) -> XittoTaskShown:
    """Show a background task, and its result if it has one."""
    run = await _find_background_task(call)
    return XittoTaskShown(**render_task(run), result=render_result(run))


@ROUTES.add(
    "GET",
    "/v1/tasks/{id}/events",
    scope=Scope.READ,
    query=Unheeded,
    silent_status=sse.ALL_SEEN_STATUS,
    streams=True,
)
async def background_task_events(call: Call[Any, Unheeded]) -> web.StreamResponse:
    """Follow a background task from its beginning, or after `Last-Event-ID`, to its end."""
    run = await _find_background_task(call)
    after = sse.read_resume_point(call, None) or 0
    if (finished := sse.answer_finished_stream(call, run, after)) is not None:
        return finished
    return await sse.send_stream(call, _stream_task_events(call.engine, run, after))


async def _stream_task_events(engine: Engine, run: Run, after: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(engine.runs.watch_run(run.id, after)) as events:
        async for event in events:
            said = await _render_task_event(engine, event)
            if said is not None:
                yield _encode_line(said, event.number)


async def _render_task_event(engine: Engine, event: Event) -> dict[str, Any] | None:
    match event.data:
        case Status(status=status) if event.number > 1:
            return {"type": "status", "status": XITTO_STATUSES[RunStatus(status)]}
        case End():
            run = await engine.runs.get_run(event.run)
            return {
                "type": "end",
                "status": XITTO_STATUSES[run.status],
                "result": render_result(run),
                "error": explain_failure(run),
            }
    return render_event(event.data)


async def _find_background_task(call: Call[Any, Unheeded]) -> Run:
    name = call.path["id"]
    try:
        run = await call.engine.runs.get_run(name)
    except RunNotFound:
        raise NotFound("task not found") from None
    if run.id != name or run.spec.source is not Source.BACKGROUND:
        raise NotFound("task not found")
    return run


def _encode_line(said: dict[str, Any], number: int | str = "") -> bytes:
    return sse.encode_frame(_encode(said), id=number)


BODIES = {"xitto": encode_finished}
