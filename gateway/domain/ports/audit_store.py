"""Where the audit log is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.domain.audit import AuditEntry, AuditFilter, AuditNote
from gateway.domain.page import Page


class AuditStore(Protocol):
    """The audit log. The stores of tokens, agents, schedules and so on add entries in the transactions of their own."""

    async def add(self, notes: Sequence[AuditNote]) -> None:
        """Add entries for what no other transaction stores."""
        ...

    async def list(self, which: AuditFilter, page: Page) -> Sequence[AuditEntry]:
        """Return entries, newest first; with `AuditFilter.after`, those that follow it, oldest first."""
        ...

    async def prune(self, before: int) -> bool:
        """Delete some entries from before then. Returns whether there may be more."""
        ...
