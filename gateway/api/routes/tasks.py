"""Tasks: runs that are submitted now and looked at later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.api import fields, paging, sse, views
from gateway.api.attachments import Attachments, WantsFiles, limit_body_with_files, receive_attachments
from gateway.api.routing import Call, Nothing, Routes
from gateway.api.task_filter import StatusFilter, TaskFilter, read_filter
from gateway.domain import ids, times
from gateway.domain.address_policy import MAX_WEBHOOK_URL_CHARACTERS
from gateway.domain.delivery import DeliveryFilter
from gateway.domain.event import AnyEventData
from gateway.domain.ids import MODEL_PATTERN
from gateway.domain.page import Page
from gateway.domain.run import MAX_ROUNDS, Mode, Run, RunSpec, Source, Status
from gateway.domain.token import Scope
from gateway.errors import InvalidRequest

ROUTES = Routes("tasks")

#: the channel in the keys of sessions that are named here
TASK_CHANNEL = "task"
#: the most events in one JSON answer
MAX_TASK_EVENTS_PER_ANSWER = 1000


class NewTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task for an agent."""

    #: the prompt
    input: fields.Prompt
    #: id or slug of the agent; the default agent when left out
    agent_id: fields.AgentName | None = field(default=None, name="agentId")
    #: name of a session, or its full key; a new session when left out
    session: fields.SessionName | None = None
    #: `goal` asks the agent again, in the same session, until it says that the goal in `input` is reached
    mode: Mode = Mode.TURN
    #: in goal mode: how often the agent is asked at most
    max_rounds: Annotated[int, Meta(ge=1, le=100)] = MAX_ROUNDS
    model: Annotated[str, Meta(pattern=MODEL_PATTERN)] | None = None
    #: seconds that the run may take
    timeout: fields.Seconds | None = None
    #: among the tasks of one agent, higher ones start first
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    #: whether it waits until `POST /api/tasks/{id}/release`
    held: bool = False
    #: the task starts no earlier than this; RFC 3339 with a time zone
    run_at: Annotated[datetime, Meta(tz=True)] | None = None
    #: up to 32 names and values by which the task is found
    labels: fields.Labels = field(default_factory=dict)
    #: id of the task that this one is part of
    parent: fields.RunId | None = None
    #: URL that receives a signed POST when the task ends
    webhook: Annotated[str, Meta(min_length=1, max_length=MAX_WEBHOOK_URL_CHARACTERS)] | None = None
    #: the secret that it is signed with, `whsec_` and base64; the gateway's own secret when left out
    webhook_secret: fields.WebhookSecret | None = None
    attachments: Attachments | UnsetType = UNSET
    wants_files: WantsFiles | UnsetType = UNSET


class TaskAnswer(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    task: views.TaskShown


class TaskDetails(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    task: views.TaskShown
    #: deliveries that report its end, newest first; empty until it has ended
    deliveries: list[views.DeliveryShown]
    #: permission requests that wait for an answer, newest first
    permissions: list[views.PermissionShown]
    #: with `render=html`: the task's `result` as HTML that is safe to show; null if there is none, or if it is too long
    #: to be rendered
    result_html: str | UnsetType | None = UNSET


class Finished(Struct, frozen=True, kw_only=True):
    """The body of a task's webhook."""

    type: str = "task.finished"
    #: when the task ended
    timestamp: str
    data: views.TaskShown


class TaskList(Struct, frozen=True, kw_only=True):
    #: newest first
    tasks: list[views.TaskShown]
    #: send it as `cursor` to get the next page; null on the last page
    next_cursor: str | None


class Which(StatusFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tasks to list."""

    #: the most tasks of a page; one with long texts has fewer
    limit: paging.Limit = 50
    #: `next_cursor` of the page before
    cursor: paging.Cursor | None = None


class TaskCounts(Struct, frozen=True, kw_only=True):
    """How many tasks there are."""

    #: by status: held, queued, running, succeeded, failed, cancelled
    counts: dict[str, int]
    #: running tasks whose agent waits for the answer of a person
    waiting_for_person: int
    #: whether all were counted; if not, there are at least so many
    exact: bool


class HowToShow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: `html` adds `result_html`
    render: fields.Rendering | None = None


class After(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of a log to read."""

    #: only events with greater numbers
    after: Annotated[int, Meta(ge=0, le=fields.MAX_LOG_POSITION)] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_TASK_EVENTS_PER_ANSWER)] = MAX_TASK_EVENTS_PER_ANSWER


class EventShown(Struct, frozen=True, kw_only=True):
    #: its number in the task's log, from 1
    id: int
    at: str
    #: its kind, and the fields of that kind
    data: AnyEventData


class EventList(Struct, frozen=True, kw_only=True):
    """A part of a task's log."""

    #: oldest first
    events: list[EventShown]
    #: status of the task
    status: str


@ROUTES.add(
    "POST",
    "/api/tasks",
    scope=Scope.WRITE,
    body=NewTask,
    answer=TaskAnswer,
    status=202,
    body_limit=limit_body_with_files,
)
async def create_task(call: Call[NewTask, Nothing]) -> TaskAnswer:
    """Submit a task. It is on disk when this answers, and will be done."""
    wanted = call.body
    name = wanted.session or ids.make_ulid(call.server.clock()).lower()
    key = call.engine.sessions.resolve_key(name, TASK_CHANNEL, wanted.agent_id)
    if wanted.webhook_secret is not None and wanted.webhook is None:
        raise InvalidRequest("webhook_secret: send it together with the webhook that it signs.")
    webhook = call.engine.deliveries.make_webhook_target
    deliver = () if wanted.webhook is None else (webhook(wanted.webhook, secret=wanted.webhook_secret),)
    parent = None if wanted.parent is None else (await call.engine.runs.get_run(wanted.parent)).id
    async with receive_attachments(call, wanted.attachments) as given:
        spec = RunSpec(
            source=Source.TASK,
            agent=key.agent,
            session=str(key),
            input=wanted.input,
            attachments=given.files,
            wants_files=wanted.wants_files is True,
            mode=wanted.mode,
            max_rounds=wanted.max_rounds,
            model=wanted.model,
            timeout=wanted.timeout,
            priority=wanted.priority,
            held=wanted.held,
            run_at=_parse_time("run_at", wanted.run_at),
            labels=wanted.labels,
            parent=parent,
            deliver=deliver,
        )
        run = (await call.engine.runs.submit_run(spec, call.read_idempotency_key(given.files), staged=given.staged)).run
    return _render_task_answer(call, run)


@ROUTES.add("GET", "/api/tasks", scope=Scope.READ, query=Which, answer=TaskList)
async def list_tasks(call: Call[Nothing, Which]) -> TaskList:
    """List tasks, newest first: all runs, whichever route or channel they came from. Long texts are shortened."""
    asked = paging.Paging(limit=call.query.limit, cursor=call.query.cursor)
    found = await call.engine.runs.list_runs(await read_filter(call, call.query), paging.page_to_fetch(asked))
    waits = await call.engine.queue_status.explain_waits(found)
    tasks, cursor = paging.render_page(
        asked, found, lambda run: run.seq, lambda run: views.render_task(run, waits.get(run.id))
    )
    return TaskList(tasks=tasks, next_cursor=cursor)


@ROUTES.add("GET", "/api/tasks/counts", scope=Scope.READ, query=TaskFilter, answer=TaskCounts)
async def count_tasks(call: Call[Nothing, TaskFilter]) -> TaskCounts:
    """Count tasks by status. Of very many, only the newest that a filter matches are counted: `exact` says so."""
    found = await call.engine.run_lists.count_runs(await read_filter(call, call.query))
    return TaskCounts(
        counts={str(status): number for status, number in found.by_status.items()},
        waiting_for_person=found.waiting_for_person,
        exact=found.is_exact,
    )


@ROUTES.add("GET", "/api/tasks/{id}", scope=Scope.READ, query=HowToShow, answer=TaskDetails)
async def show_task(call: Call[Nothing, HowToShow]) -> TaskDetails:
    """Show a task with its deliveries and what it waits for, by its id or any unique part of it."""
    run = await call.engine.runs.get_run(call.path["id"])
    # Only a run that has targets and has ended has deliveries.
    told = bool(run.spec.deliver) and run.status.is_final
    found = await call.engine.deliveries.list_deliveries(DeliveryFilter(run=run.id), Page()) if told else ()
    asked = await call.engine.permissions.list_requests(run.id, Page()) if run.status is Status.RUNNING else ()
    waits = await call.engine.queue_status.explain_waits([run])
    made: str | UnsetType | None = UNSET
    if call.query.render is not None:
        (made,) = await call.server.rendered_texts.render_texts([run.result])
    call.headers["X-Run-Id"] = run.id
    return TaskDetails(
        task=views.render_task(run, waits.get(run.id)),
        deliveries=[views.render_delivery(one) for one in found],
        permissions=[views.render_permission(one) for one in asked if one.answer is None],
        result_html=made,
    )


@ROUTES.add("POST", "/api/tasks/{id}/cancel", scope=Scope.WRITE, answer=TaskAnswer)
async def cancel_task(call: Call[Nothing, Nothing]) -> TaskAnswer:
    """Cancel a task: a queued one at once, a running one within seconds."""
    # Shielded: if the client disconnects, a run that is marked as cancelled must still be stopped.
    return _render_task_answer(
        call, await asyncio.shield(call.engine.runs.cancel_run(call.path["id"], call.read_idempotency_key()))
    )


@ROUTES.add("POST", "/api/tasks/{id}/release", scope=Scope.WRITE, answer=TaskAnswer)
async def release_task(call: Call[Nothing, Nothing]) -> TaskAnswer:
    """Queue a task that is held."""
    return _render_task_answer(call, await call.engine.runs.release_run(call.path["id"], call.read_idempotency_key()))


@ROUTES.add("POST", "/api/tasks/{id}/retry", scope=Scope.WRITE, answer=TaskAnswer, status=202)
async def retry_task(call: Call[Nothing, Nothing]) -> TaskAnswer:
    """Submit a failed or cancelled task again, as a new task."""
    return _render_task_answer(call, await call.engine.runs.retry_run(call.path["id"], call.read_idempotency_key()))


@ROUTES.add(
    "GET",
    "/api/tasks/{id}/events",
    scope=Scope.READ,
    query=After,
    answer=EventList,
    silent_status=sse.ALL_SEEN_STATUS,
    streams=True,
)
async def task_events(call: Call[Nothing, After]) -> EventList | web.StreamResponse:
    """Follow a task's log from any point to its end; with `Accept: application/json`, read a part of it."""
    run = await call.engine.runs.get_run(call.path["id"])
    after = sse.read_resume_point(call, call.query.after) or 0
    if not call.wants_json:
        if (finished := sse.answer_finished_stream(call, run, after)) is not None:
            return finished
        return await sse.send_stream(call, _stream_task_events(call, run, after))
    events = await call.engine.runs.read_events(run.id, after, call.query.limit, paging.MAX_PAGE_BYTES)
    shown = [EventShown(id=event.number, at=times.format_rfc3339(event.at), data=event.data) for event in events]
    return EventList(events=shown, status=run.status)


async def _stream_task_events(call: Call[Nothing, After], run: Run, after: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(call.engine.runs.watch_run(run.id, after)) as events:
        async for event in events:
            yield sse.encode_event(event)


def _parse_time(field_name: str, given: datetime | None) -> int | None:
    """Return a time in milliseconds since 1970 UTC."""
    try:
        return None if given is None else times.to_milliseconds(given.astimezone(UTC))
    except OverflowError:
        raise InvalidRequest(f"{field_name}: must lie in the years 1 to 9999, in UTC.") from None


def _render_task_answer(call: Call[Any, Any], run: Run) -> TaskAnswer:
    call.headers["X-Run-Id"] = run.id
    return TaskAnswer(task=views.render_task(run))


def encode_finished(run: Run) -> bytes:
    """Return the body of the webhook of a task that has ended."""
    assert run.finished is not None, "only a run that has ended is delivered"
    return msgspec.json.encode(Finished(timestamp=times.format_rfc3339(run.finished), data=views.render_task(run)))


BODIES = {"task": encode_finished}
