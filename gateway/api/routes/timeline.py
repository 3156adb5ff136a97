"""The timeline of a task."""

from __future__ import annotations

from msgspec import Struct

from gateway.api import views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.token import Scope

ROUTES = Routes("tasks")


class TimelineAnswer(Struct, frozen=True, kw_only=True):
    """What happened in a task, as groups of events."""

    #: its id
    task_id: str
    #: status of the task
    status: str
    created_at: str
    #: oldest first; at most 2,000
    groups: list[views.GroupShown]
    #: how long it waited for its turn or for a person
    waited_seconds: float
    #: how long its agent worked, without the time in which it waited for a person
    worked_seconds: float
    #: false if the log is very long or was pruned: then the groups are those of a part of it
    complete: bool


@ROUTES.add("GET", "/api/tasks/{id}/timeline", scope=Scope.READ, answer=TimelineAnswer)
async def show_timeline(call: Call[Nothing, Nothing]) -> TimelineAnswer:
    """Show what happened in a task as groups of events: waits, attempts, tools, permissions, texts and deliveries."""
    found = await call.engine.timelines.read_timeline(call.path["id"])
    call.headers["X-Run-Id"] = found.run.id
    return TimelineAnswer(
        task_id=found.run.id,
        status=found.run.status,
        created_at=times.format_rfc3339(found.run.created),
        groups=[views.render_group(one) for one in found.timeline.groups],
        waited_seconds=found.timeline.waited / 1000,
        worked_seconds=found.timeline.worked / 1000,
        complete=found.timeline.is_complete,
    )
