"""XCClaw's schedules, which make a task at each of their times."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from gateway.api import fields, reply, views
from gateway.api.compat.xcclaw.wire import (
    MAX_XCCLAW_ROWS,
    XCCLAW_DIALECT,
    XCCLAW_LABEL,
    XCCLAW_PATH,
    build_schedule_spec,
)
from gateway.api.routing import Call, Routes, Unheeded
from gateway.domain import ids, times
from gateway.domain.ids import SLUG_PATTERN
from gateway.domain.schedule import Schedule
from gateway.domain.token import Scope
from gateway.errors import InvalidRequest, ScheduleNotFound

ROUTES = Routes("xcclaw", dialect=XCCLAW_DIALECT)


class NewXCClawSchedule(Struct, frozen=True, kw_only=True):
    """A prompt and the times at which it is sent."""

    #: the gateway makes one when left out
    id: Annotated[str, Meta(pattern=SLUG_PATTERN)] | None = None
    #: the name that people see
    name: Annotated[str, Meta(max_length=100, pattern=fields.SHOWN_NAME_PATTERN)] = ""
    #: a cron expression, in the time zone `cron.timezone`
    cron: str
    #: what the agent is told
    prompt: fields.Prompt
    #: whether it starts runs
    enabled: bool = True


class XCClawSchedule(Struct, frozen=True, kw_only=True):
    #: id of the schedule
    id: str
    #: the name that people see; may be empty
    name: str
    #: its cron expression
    cron: str
    #: what the agent is told
    prompt: str
    #: whether it starts runs
    enabled: bool
    next_run: str | None
    created_at: str


class ScheduleDeleted(Struct, frozen=True, kw_only=True):
    #: id of the schedule
    deleted: str


@ROUTES.add(
    "POST", f"{XCCLAW_PATH}/schedule", scope=Scope.WRITE, body=NewXCClawSchedule, query=Unheeded, answer=XCClawSchedule
)
async def create_xcclaw_schedule(call: Call[NewXCClawSchedule, Unheeded]) -> XCClawSchedule:
    """Make a schedule; at each of its times it makes a task in a session of its own."""
    wanted = call.body
    identifier = wanted.id or ids.make_ulid(call.server.clock()).lower()
    spec = build_schedule_spec(call, identifier, wanted.name, wanted.cron, wanted.prompt)
    try:
        made = await call.engine.schedules.create_schedule(
            spec, identifier, enabled=wanted.enabled, key=call.read_idempotency_key()
        )
    except InvalidRequest as error:
        raise InvalidRequest(f"cron: {error.message.removeprefix('schedule: ')}", remedy=error.remedy) from error
    return _render_xcclaw_schedule(made)


@ROUTES.add("GET", f"{XCCLAW_PATH}/schedule", scope=Scope.READ, query=Unheeded, answer=list[XCClawSchedule])
async def list_xcclaw_schedules(call: Call[Any, Unheeded]) -> web.StreamResponse:
    """List the schedules that were made through this API, oldest first."""

    async def render_schedules() -> AsyncGenerator[XCClawSchedule, None]:
        async for found in call.engine.schedules.iterate_schedules(XCCLAW_LABEL, MAX_XCCLAW_ROWS):
            yield _render_xcclaw_schedule(found)

    return await reply.send_list(call.request, render_schedules(), headers=call.headers)


@ROUTES.add(
    "DELETE",
    f"{XCCLAW_PATH}/schedule/{{id}}",
    scope=Scope.WRITE,
    body=Unheeded,
    query=Unheeded,
    answer=ScheduleDeleted,
)
async def delete_xcclaw_schedule(call: Call[Any, Unheeded]) -> ScheduleDeleted:
    """Delete a schedule; its tasks stay."""
    name = call.path["id"]
    if XCCLAW_LABEL not in (await call.engine.schedules.get_schedule(name)).spec.labels:
        raise ScheduleNotFound(f"there is no schedule {name[:64]!r}.")
    await call.engine.schedules.delete_schedule(name)
    return ScheduleDeleted(deleted=name)


def _render_xcclaw_schedule(of: Schedule) -> XCClawSchedule:
    return XCClawSchedule(
        id=of.id,
        name=of.spec.name,
        cron=of.spec.expression,
        prompt=of.spec.input,
        enabled=of.enabled,
        next_run=views.render_time(of.next_at) if of.enabled else None,
        created_at=times.format_rfc3339(of.created),
    )
