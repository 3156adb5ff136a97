"""What clients see of the timeline of a run."""

from __future__ import annotations

from msgspec import Struct

from gateway.api.views.time import render_time
from gateway.domain import times
from gateway.domain.timeline import Group


class GroupShown(Struct, frozen=True, kw_only=True):
    """Events of a task that belong together."""

    #: wait, attempt, tool, permission, text, thinking, delivery, file or log
    kind: str
    #: what it is, in a few words
    title: str
    #: the attempt in which it began, 0 before the first; of a delivery, the number of the try
    attempt: int
    started_at: str
    #: null while it goes on
    ended_at: str | None
    #: running, waiting, ok, error or denied
    status: str
    #: number of its first event; null if the log has none of it
    first_event: int | None
    #: number of its last event; null if the log has none of it
    last_event: int | None
    #: more about it, such as the arguments of a tool; at most 1,000 characters
    detail: str | None
    #: why it failed
    error: str | None


def render_group(of: Group) -> GroupShown:
    return GroupShown(
        kind=of.kind,
        title=of.title,
        attempt=of.attempt,
        started_at=times.format_rfc3339(of.started),
        ended_at=render_time(of.ended),
        status=of.status,
        first_event=of.first_event,
        last_event=of.last_event,
        detail=of.detail,
        error=of.error,
    )
