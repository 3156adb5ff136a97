"""What the engine asks of a store to keep alerts: open conditions, and messages to receivers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.domain.alert import AlertMessage, AlertState, AlertUpdate, OpenAlert
from gateway.domain.event import Change
from gateway.domain.schedule import MissedFires


class AlertStore(Protocol):
    """Open conditions, and the messages that tell of them."""

    async def read_state(self) -> AlertState:
        """Return all that still matters."""
        ...

    async def save(self, update: AlertUpdate) -> bool:
        """Write an update. Returns False, and writes nothing, if another process has written since."""
        ...

    async def record_send(self, message: AlertMessage) -> bool:
        """Store how an attempt to send a pending message went. Returns False if it is no longer pending."""
        ...

    async def list_open(self) -> Sequence[OpenAlert]:
        """Return the open conditions, the oldest first."""
        ...

    async def list_messages(self, limit: int) -> Sequence[AlertMessage]:
        """Return the newest messages, the newest first."""
        ...

    async def read_trouble_after(self, position: int, until: int, limit: int) -> Sequence[Change]:
        """Return the changes after a position, up to another one, that may be trouble.

        These are failed runs, deliveries that were given up, and schedules whose time has come.
        """
        ...

    async def list_missed_fires(self, since: int, until: int, limit: int) -> Sequence[MissedFires]:
        """Return the schedules with times that were missed or refused, and noted in a range of moments.

        Args:
            since, until: milliseconds since 1970 UTC, both included.
            limit: schedules at most; those that missed a time first come first.
        """
        ...
