"""A ledger of processes that lives in memory."""

from __future__ import annotations

from gateway.process import identity
from gateway.process.identity import Identity


class MemoryLedger:
    """Remembers which processes are recorded now, and all that ever were."""

    def __init__(self) -> None:
        #: processes that are recorded, each with the run that it works for
        self.recorded: dict[Identity, str | None] = {}
        #: every process that was ever recorded, in order
        self.seen: list[Identity] = []

    async def record_process(self, who: Identity, run: str | None) -> None:
        self.recorded[who] = run
        self.seen.append(who)

    async def forget_process(self, who: Identity) -> None:
        self.recorded.pop(who, None)

    def alive(self) -> list[Identity]:
        """Return the processes that were ever recorded and still run."""
        return [who for who in self.seen if identity.is_alive(who)]
