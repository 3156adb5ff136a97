"""Deliveries, as clients see them: where they may go, their state, and retries."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from gateway.domain.address_policy import AddressPolicy, RefusedWebhook
from gateway.domain.delivery import (
    ChannelSends,
    Delivery,
    DeliveryAttempt,
    DeliveryCounts,
    DeliveryFilter,
    StatusCounts,
    Target,
)
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.errors import ConfigError, InvalidRequest
from gateway.security import signatures

#: how many schedules, and how many receivers, are checked for webhooks that the settings refuse
MAX_WEBHOOK_USES = 1000
#: seconds that the result of this check is reused
REFUSED_WEBHOOKS_LIFETIME_SECONDS = 2.0


class Deliveries:
    """What is sent when runs end."""

    def __init__(self, store: Store, address_policy: AddressPolicy) -> None:
        self._store = store
        self._address_policy = address_policy
        self._refused: Sequence[RefusedWebhook] = ()
        self._refused_at = -math.inf

    def with_store(self, store: Store) -> Deliveries:
        """Return the same on top of another store."""
        return Deliveries(store, self._address_policy)

    def make_webhook_target(self, url: str, body: str = "task", secret: str | None = None) -> Target:
        """Return the target for a caller's URL, to be set in `RunSpec.deliver`.

        Args:
            body: the format of the body.
            secret: the secret with which to sign, if the caller gave one: `whsec_` and base64.

        Raises:
            InvalidRequest: the secret cannot be read, or sending to this URL is impossible or not allowed.
        """
        if secret is not None:
            try:
                signatures.decode_standard_key(secret)
            except ConfigError as error:
                raise InvalidRequest(f"webhook_secret: {error}") from error
        return self._address_policy.make_webhook_target(url, body, secret or "")

    async def list_deliveries(self, which: DeliveryFilter, page: Page) -> Sequence[Delivery]:
        return await self._store.deliveries.list(which, page)

    async def count_deliveries(self, which: DeliveryFilter) -> StatusCounts:
        """Return how many deliveries match a filter, by their status."""
        return await self._store.deliveries.count(which)

    async def get_delivery(self, delivery: str) -> Delivery:
        """Return a delivery by its id or a unique prefix of it.

        Raises:
            DeliveryNotFound: there is none, or more than one.
        """
        return await self._store.deliveries.get(delivery)

    async def list_attempts(self, delivery: Delivery) -> Sequence[DeliveryAttempt]:
        """Return the newest attempts to send a delivery, oldest first."""
        return await self._store.deliveries.list_attempts(delivery.id)

    async def read_channel_sends(self, names: Sequence[str], each: int) -> Mapping[str, ChannelSends]:
        """Return the last attempts to send something through some channels, by name."""
        return await self._store.deliveries.read_channel_sends(names, each)

    async def retry_delivery(self, delivery: str, key: IdempotencyKey | None = None) -> Delivery:
        """Send a dead or waiting delivery now, with its full number of attempts.

        Raises:
            DeliveryNotFound: there is none, or more than one.
            Conflict: it was delivered, or is in flight.
        """
        return await self._store.deliveries.retry(delivery, key)

    async def find_refused_webhooks(self) -> Sequence[RefusedWebhook]:
        """Return the schedules' webhooks, and the receivers of waiting deliveries, that the settings refuse.

        The result is reused for some seconds.
        """
        if time.monotonic() - self._refused_at >= REFUSED_WEBHOOKS_LIFETIME_SECONDS:
            uses = await self._store.deliveries.list_webhook_uses(MAX_WEBHOOK_USES)
            self._refused = self._address_policy.find_refused(uses)
            self._refused_at = time.monotonic()
        return self._refused

    async def count_undelivered(self) -> DeliveryCounts:
        return await self._store.deliveries.count_undelivered()
