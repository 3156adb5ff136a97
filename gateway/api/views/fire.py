"""What clients see of a time of a schedule."""

from __future__ import annotations

from msgspec import Struct

from gateway.domain import times
from gateway.domain.schedule import FireRecord


class FireShown(Struct, frozen=True, kw_only=True):
    #: the time of the schedule; of a triggered run, when it was asked for
    scheduled_for: str
    #: when the outcome was decided
    at: str
    #: fired, triggered, missed, skipped or refused
    outcome: str
    run_id: str | None
    #: status of the run
    run_status: str | None
    error: str | None


def render_fire(of: FireRecord) -> FireShown:
    return FireShown(
        scheduled_for=times.format_rfc3339(of.scheduled_for),
        at=times.format_rfc3339(of.at),
        outcome=of.outcome,
        run_id=of.run,
        run_status=of.status,
        error=of.error,
    )
