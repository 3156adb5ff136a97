"""A ledger of processes in memory."""

from __future__ import annotations

from gateway.process import identity
from gateway.process.identity import Identity


class MemoryLedger:
    """Records the processes that are in the ledger now, and all that ever were."""

    def __init__(self) -> None:
        #: recorded processes, each with its run
        self.recorded: dict[Identity, str | None] = {}
        #: every process that was ever recorded, in order
        self.seen: list[Identity] = []

    async def record_process(self, who: Identity, run: str | None) -> None:
        self.recorded[who] = run
        self.seen.append(who)

    async def forget_process(self, who: Identity) -> None:
        self.recorded.pop(who, None)

    def alive(self) -> list[Identity]:
        """Return all processes that were ever recorded and still run."""
        return [who for who in self.seen if identity.is_alive(who)]
