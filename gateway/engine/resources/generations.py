"""Generations: which serving processes led, and why they ended."""

from __future__ import annotations

from collections.abc import Sequence

import gateway
from gateway import log
from gateway.domain.generation import CRASHED_REASON, GenerationRecord
from gateway.domain.ports.store import Store
from gateway.engine.execution.owner import Owner
from gateway.engine.storage_retry import until_stored
from gateway.errors import GatewayError

_log = log.get()


class Generations:
    """The records of serving processes. Each writes its own; its successor closes that of one that crashed."""

    def __init__(self, store: Store, owner: Owner) -> None:
        self._store = store
        self._owner = owner

    async def record_leading(self, generation: int, *, started: int, ready: int) -> None:
        """Record that this process leads, as soon as the disk accepts it.

        Args:
            started, ready: when it began, and when it answered requests, in milliseconds since 1970 UTC.
        """
        record = GenerationRecord(
            owner=str(self._owner), generation=generation, version=gateway.__version__, started=started, ready=ready
        )
        await until_stored(self.close_crashed)
        await until_stored(lambda: self._store.generations.add(record))

    async def record_end(self, generation: int, reason: str) -> None:
        """Record that this process ends now. A disk that refuses does not keep it from ending."""
        try:
            await self._store.generations.close(str(self._owner), generation, reason)
        except GatewayError as error:
            _log.warning("generation.unrecorded", error=str(error))

    async def close_crashed(self) -> None:
        """Close the records of processes that are gone and did not close them."""
        for record in await self._store.generations.list_open():
            owner = _parse_owner(record)
            if owner is None or not owner.is_alive:
                await self._store.generations.close(record.owner, record.generation, CRASHED_REASON)

    async def list_records(self, limit: int) -> Sequence[GenerationRecord]:
        """Return the last records, newest first, without those whose owner cannot be read."""
        return [record for record in await self._store.generations.list(limit) if _parse_owner(record) is not None]


def _parse_owner(record: GenerationRecord) -> Owner | None:
    """Return the process of a record; None if no serving process of this version has such a name."""
    try:
        return Owner.parse_owner(record.owner)
    except ValueError:
        return None
