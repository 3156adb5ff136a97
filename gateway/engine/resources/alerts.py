"""Alerts, as clients see them: what is open, and what was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.domain.alert import AlertKind, AlertMessage, OpenAlert
from gateway.domain.delivery import SendResult
from gateway.domain.ports.store import Store


class AlertTester(Protocol):
    """What clients may ask of the alert service of this process."""

    @property
    def receiver_names(self) -> Sequence[str]: ...

    @property
    def watched_kinds(self) -> Sequence[AlertKind]: ...

    async def send_test(self, receiver: str) -> SendResult:
        """Send a test to one receiver, once."""
        ...


class AlertBook:
    """Reads what the alert service has written, in this process or in the one that leads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: None if no receiver is configured
        self.tester: AlertTester | None = None

    async def list_open(self) -> Sequence[OpenAlert]:
        """Return the open conditions, the oldest first."""
        return await self._store.alerts.list_open()

    async def list_messages(self, limit: int) -> Sequence[AlertMessage]:
        """Return the newest messages to receivers, the newest first."""
        return await self._store.alerts.list_messages(limit)
