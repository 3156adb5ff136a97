"""What the engine asks of a store to keep small values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gateway.domain.audit import AuditNote


class NoteStore(Protocol):
    """Small values, each under a name within a scope: a channel's own, or that of the slugs of deleted agents."""

    async def get(self, scope: str, name: str) -> str | None:
        """Return the value of a note, or None if there is none or it has expired."""
        ...

    async def list(self, scope: str, prefix: str) -> Mapping[str, str]:
        """Return all notes whose names begin with the prefix."""
        ...

    async def save(
        self,
        scope: str,
        changes: Mapping[str, str | None],
        *,
        expires: int | None = None,
        only_if: str | None = None,
        audited: AuditNote | None = None,
    ) -> bool:
        """Save notes, all of them or none. A value of None deletes the note.

        Args:
            expires: milliseconds since 1970 UTC; None never.
            only_if: unless there is a note of that name, do nothing and return False.
            audited: what the audit log says of it; None if it says nothing.
        """
        ...
