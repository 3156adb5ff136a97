"""Where a member of a fleet gets its runs from: each dispatches runs, and takes as many as it has slots for."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.domain.ports.fleet_store import FleetStore
from gateway.domain.queue import RunLimits
from gateway.engine.execution.claim_loop import ClaimLoop
from gateway.engine.fleet.job_worker import JobWorker

#: what the limit of all runs is in a fleet: each node has its slots
NO_TOTAL_LIMIT = 1 << 31


class Dispatches:
    """`Claims` for whichever worker is free."""

    def __init__(self, fleet: FleetStore) -> None:
        self._fleet = fleet

    def begin_at_commit(self, limits: RunLimits | None) -> None:
        self._fleet.dispatch_at_commit(limits)

    async def begin(self, limits: RunLimits) -> None:
        await self._fleet.dispatch(limits)


class FleetRunSource:
    """`RunSource` of a member of a fleet."""

    def __init__(self, dispatching: ClaimLoop, job_worker: JobWorker, stopped: Callable[[], None]) -> None:
        """Args: stopped: is called when this process takes no more runs."""
        self._dispatching = dispatching
        self._job_worker = job_worker
        self._stopped = stopped

    def start(self) -> None:
        self._dispatching.start()
        self._job_worker.start()

    async def stop(self) -> None:
        """Take no more runs. What the end of one lets begin is still dispatched, for the other members."""
        await self._job_worker.stop()
        self._stopped()

    async def close(self) -> None:
        await self._dispatching.stop()
        await self._dispatching.close()

    def wake(self) -> None:
        """Do nothing: another member has dispatched what its commit lets begin."""

    def note_due(self, due: int | None) -> None:
        self._dispatching.note_due(due)

    def set_limits(self, limits: RunLimits) -> None:
        self._dispatching.set_limits(msgspec.structs.replace(limits, total=NO_TOTAL_LIMIT))
