"""What clients see of a delivery."""

from __future__ import annotations

from msgspec import Struct

from gateway.api.views.time import render_time
from gateway.domain import times
from gateway.domain.delivery import Delivery, DeliveryStatus


class DeliveryShown(Struct, frozen=True, kw_only=True):
    """A delivery, as the HTTP API shows it."""

    #: also the `webhook-id`, the same for each attempt
    id: str
    #: pending, sending, delivered or dead
    status: str
    #: id of the task whose end it reports
    task: str
    #: webhook, or a channel's name
    kind: str
    #: a URL, or the id of a chat
    address: str
    #: the format of its body
    format: str
    #: attempts since it was made, or since it was last sent again by hand
    attempt: int
    #: when the next attempt is; null if there is none
    next_at: str | None
    #: why the last attempt failed
    error: str | None
    created_at: str
    #: when it was delivered, or became a dead letter
    finished_at: str | None


def render_delivery(of: Delivery) -> DeliveryShown:
    return DeliveryShown(
        id=of.id,
        status=of.status,
        task=of.run,
        kind=of.target.kind,
        address=of.target.address,
        format=of.target.format,
        attempt=of.attempt,
        next_at=times.format_rfc3339(of.next_at) if of.status is DeliveryStatus.PENDING else None,
        error=of.error,
        created_at=times.format_rfc3339(of.created),
        finished_at=render_time(of.finished),
    )
