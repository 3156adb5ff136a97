"""A task as an agent sees it over MCP, and the wait for its end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct

from gateway.api import views
from gateway.api.compat.mcp.asking import list_open_requests, wait_for_request
from gateway.api.compat.mcp.tool import TellEvent, ToolClient
from gateway.api.routing import Call
from gateway.domain import times
from gateway.domain.event import Notice
from gateway.domain.run import Run, Status
from gateway.errors import TimedOut

_Call = Call[Any, Any]

#: characters of a task's input that a list shows
MAX_LISTED_INPUT_CHARACTERS = 200


class TaskSummary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task, as an agent sees it."""

    task_id: str
    #: held, queued, running, succeeded, failed or cancelled
    status: str
    agent: str
    session: str
    input: str | None = None
    reply: str | None = None
    #: files that the agent made; `GET /api/files/{id}` returns one
    files: list[views.FileShown] = []
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
    #: what its agent asks, and waits for people to answer
    asks: list[views.PermissionShown] = []
    #: what to do while it has not ended
    next: str | None = None


def summarize_task(run: Run, *, listed: bool = False) -> TaskSummary:
    going = None if run.status.is_final or listed else "It has not ended. Call wait_task with this task_id to wait on."
    return TaskSummary(
        task_id=run.id,
        status=run.status,
        agent=run.spec.agent,
        session=run.spec.session,
        input=run.spec.input[:MAX_LISTED_INPUT_CHARACTERS] if listed else None,
        reply=None if listed else run.result,
        files=[] if listed else views.render_files(run.files),
        finish=run.finish,
        error=run.error,
        created_at=times.format_rfc3339(run.created),
        finished_at=views.render_time(run.finished),
        session_restarted=Notice.SESSION_RESTARTED in run.notices,
        context_shortened=Notice.CONTEXT_SHORTENED in run.notices,
        last_event=run.last_event,
        next=going,
    )


async def show_task(call: _Call, run: Run) -> TaskSummary:
    """Return a task with what its agent asks."""
    summary = summarize_task(run)
    asked = await list_open_requests(call, run.id) if run.status is Status.RUNNING else ()
    if not asked:
        return summary
    waits = "Its agent waits until people answer what it asks. Call wait_task with this task_id to wait on."
    return msgspec.structs.replace(summary, asks=[views.render_permission(one) for one in asked], next=waits)


async def wait_for_end(call: _Call, run: str, seconds: float, client: ToolClient) -> Run:
    """Return a run when it has ended or the time is up; or when it asks what the client's user can answer.

    Raises:
        Unavailable: the gateway stops; the run goes on when it is back.
    """
    ending = asyncio.create_task(call.wait_for_run(run, seconds), name="mcp-waiting")
    reasons: set[asyncio.Task[Any]] = {ending}
    if client.shows_forms:
        reasons.add(asyncio.create_task(wait_for_request(call, run, client.dismissed), name="mcp-asking"))
    tasks = [*reasons]
    if client.tell is not None:
        tasks.append(asyncio.create_task(_tell_events(call, run, client.tell), name="mcp-telling"))
    try:
        await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        return await ending if ending.done() else await call.engine.runs.get_run(run)
    except TimedOut:
        return await call.engine.runs.get_run(run)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell_events(call: _Call, run: str, tell: TellEvent) -> None:
    async with aclosing(call.engine.runs.watch_run(run)) as events:
        async for event in events:
            await tell(event)
