"""What the engine asks of a store for deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.domain.address_policy import WebhookUse
from gateway.domain.delivery import (
    ChannelSends,
    Delivery,
    DeliveryAttempt,
    DeliveryCounts,
    DeliveryFilter,
    StatusCounts,
)
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page


class DeliveryStore(Protocol):
    """Deliveries. The transaction that ends a run creates them."""

    async def take_due(self, limit: int, each: int) -> Sequence[Delivery]:
        """Take up to `limit` due deliveries: one at a time for a chat, at most `each` for any other receiver."""
        ...

    async def record_attempt(self, delivery: Delivery, tried: DeliveryAttempt) -> bool:
        """Store how an attempt went, and the delivery as it is after it.

        Returns False, and writes nothing, if a newer attempt has begun.
        """
        ...

    async def list_attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """Return the newest attempts of a delivery, oldest first; none if there is no delivery with that id."""
        ...

    async def release_in_flight(self) -> int:
        """Make due again what was in flight when its process ended, and what the settings refused.

        Only a new leader does this. What was in flight has an attempt that was interrupted. A refused attempt does
        not count: the settings may be other ones now.
        Returns how many deliveries that were.
        """
        ...

    async def next_due_at(self, now: int) -> int | None:
        """Return when the next delivery after that moment is due, in milliseconds since 1970 UTC."""
        ...

    async def get(self, delivery_id: str) -> Delivery:
        """Return a delivery by its id, or by a prefix that fits exactly one.

        Raises:
            DeliveryNotFound: no delivery fits, or more than one.
        """
        ...

    async def list(self, which: DeliveryFilter, page: Page) -> Sequence[Delivery]: ...

    async def count(self, which: DeliveryFilter) -> StatusCounts:
        """Return how many deliveries match a filter, by their status."""
        ...

    async def retry(self, delivery_id: str, key: IdempotencyKey | None = None) -> Delivery:
        """Make a dead or waiting delivery due now, with its full number of attempts.

        Raises:
            DeliveryNotFound: there is no such delivery.
            Conflict: it was delivered, or is in flight.
        """
        ...

    async def read_channel_sends(self, names: Sequence[str], each: int) -> Mapping[str, ChannelSends]:
        """Return the last `each` attempts to send something through some channels, by name."""
        ...

    async def count_undelivered(self) -> DeliveryCounts: ...

    async def list_webhook_uses(self, limit: int) -> Sequence[WebhookUse]:
        """Return webhooks of enabled schedules, and receivers of webhooks that deliveries wait for: so many of each."""
        ...
