"""Deliveries, as front doors see them: where they may go, how they are, and once more."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.address_policy import Reach
from gateway.domain.delivery import Delivery, DeliveryCounts, DeliveryFilter, Target
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.errors import ConfigError, InvalidRequest
from gateway.security import signatures


class Deliveries:
    """What is sent out when runs end."""

    def __init__(self, store: Store, reach: Reach) -> None:
        self._store = store
        self._reach = reach

    def webhook(self, url: str, body: str = "task", secret: str | None = None) -> Target:
        """Return the target that a caller's URL means, for `RunSpec.deliver`.

        Args:
            body: the format of what is sent.
            secret: what it is signed with, if the caller says so: `whsec_` and base64.

        Raises:
            InvalidRequest: nothing can or may be sent there.
        """
        if secret is not None:
            try:
                signatures.standard_key(secret)
            except ConfigError as error:
                raise InvalidRequest(f"webhook_secret: {error}") from error
        return self._reach.target(url, body, secret or "")

    async def list(self, which: DeliveryFilter, page: Page) -> Sequence[Delivery]:
        return await self._store.deliveries.list(which, page)

    async def find(self, delivery: str) -> Delivery:
        """Return a delivery by its id or a unique prefix of it.

        Raises:
            DeliveryNotFound: there is none, or more than one.
        """
        return await self._store.deliveries.get(delivery)

    async def retry(self, delivery: str, key: IdempotencyKey | None = None) -> Delivery:
        """Send a dead or waiting delivery now, with all its tries before it.

        Raises:
            DeliveryNotFound: there is none, or more than one.
            Conflict: it was delivered, or is on its way.
        """
        return await self._store.deliveries.retry(delivery, key)

    async def counts(self) -> DeliveryCounts:
        return await self._store.deliveries.count_undelivered()
