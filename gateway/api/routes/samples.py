"""Samples: how the gateway was doing in the last days, for plots: `GET /api/samples`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway.api import fields
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.sample import Sample
from gateway.domain.token import Scope
from gateway.errors import InvalidRequest

ROUTES = Routes("samples")

#: milliseconds before `until` at which the samples begin when no `since` is given
DEFAULT_SAMPLE_RANGE_MILLISECONDS = 3_600_000


class WhichSamples(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which samples to show, and how many points."""

    #: the beginning, RFC 3339 with a time zone; an hour before the end when left out
    since: fields.Moment | None = None
    #: the end, RFC 3339 with a time zone; now when left out
    until: fields.Moment | None = None
    #: the most points
    points: Annotated[int, Meta(ge=2, le=2000)] = 240


class SampleShown(Struct, frozen=True, kw_only=True):
    """One point: the mean of its samples."""

    #: the beginning of its time
    at: str
    #: running runs
    running: float
    #: queued runs
    queued: float
    #: runs that ended in a minute
    ended: float
    #: runs that failed in a minute
    failed: float
    #: milliseconds that accepting a run took
    accept_ms: float
    #: memory of the serving process, without its agents
    memory_bytes: int
    #: processor time of the serving process, without its agents; 100 is one core
    cpu_percent: float
    #: the most milliseconds that the gateway was late with what was due
    loop_lag_ms: float
    #: size of the database
    database_bytes: int


class SampleList(Struct, frozen=True, kw_only=True):
    """Points of a plot."""

    #: seconds that a point stands for; points are that far apart, or further where no samples were taken
    step_seconds: int
    #: oldest first
    samples: list[SampleShown]


@ROUTES.add("GET", "/api/samples", scope=Scope.READ, query=WhichSamples, answer=SampleList)
async def list_samples(call: Call[Nothing, WhichSamples]) -> SampleList:
    """Show how the gateway was doing: a sample was taken each minute, and is kept for 8 days."""
    asked = call.query
    until = call.server.clock() if asked.until is None else fields.parse_moment("until", asked.until)
    if asked.since is None:
        since = until - DEFAULT_SAMPLE_RANGE_MILLISECONDS
    else:
        since = fields.parse_moment("since", asked.since)
    if since >= until:
        raise InvalidRequest("since: must be earlier than until.")
    step, found = await call.engine.samples.read_points(since, until, asked.points)
    return SampleList(step_seconds=step // 1000, samples=[_render_sample(sample) for sample in found])


def _render_sample(sample: Sample) -> SampleShown:
    return SampleShown(**{**msgspec.structs.asdict(sample), "at": times.format_rfc3339(sample.at)})
