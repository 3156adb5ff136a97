"""Stores what need not be stored at once: last uses of tokens, and refused attempts. Never a write for each request."""

from __future__ import annotations

import contextlib

from gateway.engine.resources.audit import AuditLog
from gateway.engine.resources.tokens import Tokens
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.errors import GatewayError

#: seconds between two writes
LATE_WRITES_INTERVAL_SECONDS = 60.0


class LateWrites:
    """The service that stores them once a minute, and once more at the end."""

    def __init__(self, tokens: Tokens, audit: AuditLog) -> None:
        self._tokens = tokens
        self._audit = audit
        log_error = log_errors("late_writes.waits")
        self._rounds = ServiceLoop(
            "late-writes", self._run_round, log_error, retry_seconds=LATE_WRITES_INTERVAL_SECONDS
        )

    def start(self) -> None:
        self._rounds.start(delay=LATE_WRITES_INTERVAL_SECONDS)

    async def stop(self) -> None:
        """End the loop, and store what is left. Stopping twice is fine."""
        await self._rounds.stop()
        with contextlib.suppress(GatewayError):  # a disk that refuses must not keep the gateway from ending
            await self.store_all()

    async def store_all(self) -> None:
        """Store all that is new."""
        await self._tokens.uses.store_uses()
        await self._audit.store_refusals()

    async def _run_round(self) -> float:
        await self.store_all()
        return LATE_WRITES_INTERVAL_SECONDS
