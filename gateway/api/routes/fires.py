"""Fires: what happened at the last times of all schedules."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.api import fields, paging, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.schedule import ScheduleFires
from gateway.domain.token import Scope

ROUTES = Routes("fires")


class LastFires(Struct, frozen=True, kw_only=True):
    #: the last times of each schedule, by its id; oldest first
    jobs: dict[str, list[views.FireShown]]
    #: send it as `cursor` to get those of older schedules; null on the last page
    next_cursor: str | None


class WhichFires(paging.Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which schedules, the newest first, and how much."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 200
    #: the most times of each schedule
    each: fields.EachCount = fields.DEFAULT_EACH_COUNT


class _JobFires(Struct, frozen=True, kw_only=True):
    """The entry of a schedule in `LastFires`."""

    id: str
    fires: list[views.FireShown]


@ROUTES.add("GET", "/api/cron/fires", scope=Scope.READ, query=WhichFires, answer=LastFires)
async def last_fires(call: Call[Nothing, WhichFires]) -> LastFires:
    """Show what happened at the last times of each schedule, including those that were missed or skipped."""
    found = await call.engine.schedules.list_last_fires(paging.page_to_fetch(call.query), call.query.each)
    jobs, cursor = paging.render_page(call.query, found, lambda job: job.seq, _render_job_fires)
    return LastFires(jobs={job.id: job.fires for job in jobs}, next_cursor=cursor)


def _render_job_fires(job: ScheduleFires) -> _JobFires:
    return _JobFires(id=job.id, fires=[views.render_fire(fire) for fire in job.fires])
