"""Unreadable rows, as clients see them: list and remove them, and say in one line how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gateway.domain.ports.store import Store
from gateway.domain.unreadable import RowKind, UnreadableRow


class UnreadableRows:
    """What is stored, but cannot be read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_rows(self) -> Sequence[UnreadableRow]:
        """Return the unreadable rows that were found since the start, in that order."""
        return await self._store.unreadable.list()

    async def remove_row(self, kind: RowKind, id_: str) -> None:
        """Delete an unreadable row for good.

        Raises:
            NotFound: no such row is known to be unreadable.
        """
        await self._store.unreadable.remove(kind, id_)

    def describe_rows(self) -> str:
        """Return how many there are, for people; empty if there are none."""
        counts = Counter(row.kind for row in self._store.unreadable.list_found())
        if not counts:
            return ""
        counted = ", ".join(f"{number} {kind}{'' if number == 1 else 's'}" for kind, number in sorted(counts.items()))
        return f"{counted} in the database cannot be read: gateway unreadable list."
