"""The amount of work, which `gateway status` shows: `GET /api/work`."""

from __future__ import annotations

from msgspec import Struct

from gateway.api import views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.times import MINUTE_MILLISECONDS
from gateway.domain.token import Scope

ROUTES = Routes("work")

#: milliseconds in a day
LAST_DAY_MILLISECONDS = 86_400_000


class Work(Struct, frozen=True, kw_only=True):
    """What the gateway has to do, and what it did."""

    #: runs that are running, and that are queued
    running: int
    #: runs that are queued
    queued: int
    #: queued runs of agents that are disabled or gone, by agent
    stranded: dict[str, int]
    #: runs that ended in the last 24 hours, from the minute in which those began
    ended: int
    #: deliveries that are pending, and that are dead letters
    pending_deliveries: int
    #: deliveries that are dead letters
    dead_deliveries: int
    #: when the next schedule is due; null if none is
    next_schedule: str | None


@ROUTES.add("GET", "/api/work", scope=Scope.READ, answer=Work)
async def work(call: Call[Nothing, Nothing]) -> Work:
    """Show what the gateway has to do, and what it did."""
    engine = call.engine
    # Whole minutes are counted without a look at each run.
    day_ago = call.server.clock() - LAST_DAY_MILLISECONDS
    runs = await engine.run_lists.count_totals(since=day_ago // MINUTE_MILLISECONDS * MINUTE_MILLISECONDS)
    deliveries = await engine.deliveries.count_undelivered()
    return Work(
        running=runs.running,
        queued=runs.queued,
        stranded=dict(await engine.queue_status.count_stranded_runs()) if runs.queued else {},
        ended=sum(runs.ended.values()),
        pending_deliveries=deliveries.pending,
        dead_deliveries=deliveries.dead,
        next_schedule=views.render_time(await engine.schedules.next_fire_at()),
    )
