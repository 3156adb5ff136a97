"""Generations: the serving processes that led, and why they ended: `GET /api/generations`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.api import views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.generation import MAX_GENERATIONS_KEPT, GenerationRecord
from gateway.domain.token import Scope
from gateway.engine.execution.owner import Owner

ROUTES = Routes("generations")


class WhichGenerations(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many generations to show."""

    limit: Annotated[int, Meta(ge=1, le=MAX_GENERATIONS_KEPT)] = 50


class GenerationShown(Struct, frozen=True, kw_only=True):
    """A serving process that led."""

    #: its number under its supervisor; the first is 1
    generation: int
    #: id of this start of the gateway; its generations share it
    instance: str
    #: version of the gateway
    version: str
    #: number of its process
    #: number of its process
    pid: int
    started_at: str
    #: when it answered requests
    ready_at: str
    #: when it ended, or when its successor saw that it had; null while it lives
    ended_at: str | None
    #: why it ended, such as `a new generation leads`, or `crashed`; null while it lives
    reason: str | None


class GenerationList(Struct, frozen=True, kw_only=True):
    #: newest first; the last 500 are kept
    generations: list[GenerationShown]


@ROUTES.add("GET", "/api/generations", scope=Scope.READ, query=WhichGenerations, answer=GenerationList)
async def list_generations(call: Call[Nothing, WhichGenerations]) -> GenerationList:
    """List the serving processes that led, newest first, with when and why each ended."""
    found = await call.engine.generations.list_records(call.query.limit)
    return GenerationList(generations=[_render_generation(record) for record in found])


def _render_generation(record: GenerationRecord) -> GenerationShown:
    owner = Owner.parse_owner(record.owner)
    return GenerationShown(
        generation=record.generation,
        instance=owner.instance,
        version=record.version,
        pid=owner.process.pid,
        started_at=times.format_rfc3339(record.started),
        ready_at=times.format_rfc3339(record.ready),
        ended_at=views.render_time(record.ended),
        reason=record.reason,
    )
