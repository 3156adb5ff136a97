"""Alerts, as clients see them: what is open, and what was told."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.alert import AlertMessage, OpenAlert
from gateway.domain.ports.store import Store


class AlertBook:
    """Reads what the alert service has written, in this process or in the one that leads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_open(self) -> Sequence[OpenAlert]:
        """Return the open conditions, the oldest first."""
        return await self._store.alerts.list_open()

    async def list_messages(self, limit: int) -> Sequence[AlertMessage]:
        """Return the newest messages to receivers, the newest first."""
        return await self._store.alerts.list_messages(limit)
