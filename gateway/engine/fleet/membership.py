"""Keeps the lease of this process, and ends its agents when it cannot: others begin their runs then."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec

from gateway import log
from gateway.domain.fleet import LEASE_RENEWAL_SECONDS, SELF_FENCE_SECONDS, Node
from gateway.domain.ports.fleet_store import FleetStore
from gateway.engine.execution.attempt import Interrupt
from gateway.engine.execution.worker import Worker
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.errors import GatewayError, Unavailable

#: seconds until a renewal that failed is tried again
RENEWAL_RETRY_SECONDS = 1.0
#: seconds that one renewal may take
RENEWAL_TIMEOUT_SECONDS = 5.0
#: seconds between two looks whether the last renewal is too long ago
FENCE_CHECK_SECONDS = 1.0
#: a clock that also goes on while the machine sleeps, if it has one: on macOS, `time.monotonic` does not
_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))

_log = log.get()


class Membership:
    """The service that renews the lease of a node."""

    def __init__(self, fleet: FleetStore, node: Node, worker: Worker) -> None:
        self._fleet = fleet
        self._node = node
        self._worker = worker
        self._renewed = 0.0
        #: the renewal under way: one that takes too long is waited for again, so that its late answer counts
        self._renewal: asyncio.Task[None] | None = None
        self._is_fenced = False
        #: ids and epochs of the runs of this node by the store on which it does not work
        self._unknown: set[tuple[str, int]] = set()
        self._loop = ServiceLoop(
            "membership", self._renew, log_errors("fleet.cannot_renew"), retry_seconds=RENEWAL_RETRY_SECONDS
        )
        self._fence = ServiceLoop("fence", self._fence_if_late, log_errors("fleet.cannot_fence"))

    async def join(self) -> None:
        """Take a lease, and renew it from now on.

        Raises:
            StorageFull, Unavailable: the store refuses.
        """
        await self._take_lease()
        self._loop.start(delay=LEASE_RENEWAL_SECONDS)
        self._fence.start(delay=FENCE_CHECK_SECONDS)

    async def leave(self) -> None:
        """End the lease. This process has no more runs."""
        await self._loop.stop()
        await self._fence.stop()
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait({self._renewal})
        with contextlib.suppress(TimeoutError, GatewayError):  # then it ends by itself
            async with asyncio.timeout(RENEWAL_TIMEOUT_SECONDS):
                await self._fleet.end_lease(self._node.name)

    def stop_taking_runs(self) -> None:
        """Tell the others that this process takes no more runs, and finishes those that it has."""
        self._node = msgspec.structs.replace(self._node, slots=0)
        self._loop.wake()

    @property
    def is_fenced(self) -> bool:
        """Whether the lease could not be renewed for too long: this process may begin nothing."""
        return self._is_fenced

    async def _renew(self) -> float:
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._take_lease(), name="lease-renewal")
        done, _ = await asyncio.wait({self._renewal}, timeout=RENEWAL_TIMEOUT_SECONDS)
        if not done:
            raise Unavailable("the database takes long to renew the lease of this process.")
        renewal, self._renewal = self._renewal, None
        renewal.result()
        async with asyncio.timeout(RENEWAL_TIMEOUT_SECONDS):
            await self._requeue_forgotten()
        return LEASE_RENEWAL_SECONDS

    async def _take_lease(self) -> None:
        asked = _read_clock()
        was_alive = await self._fleet.renew_lease(self._node)
        if not was_alive and self._renewed:  # this process was stopped or cut off: its runs are at work elsewhere
            _log.warning("fleet.lease_lost", runs=len(self._worker.current_run_ids))
            self._worker.interrupt_all(Interrupt.FENCED)
        self._renewed, self._is_fenced = asked, False

    async def _requeue_forgotten(self) -> None:
        """Put runs back on which this process should work and does not; if it will soon, the next look sees it."""
        running = await self._fleet.find_running(self._node.name)
        known = set(self._worker.current_run_ids)
        unknown = {(run, epoch) for run, epoch in running if run not in known}
        if forgotten := unknown & self._unknown:
            requeued = await self._fleet.requeue_forgotten(self._node.name, forgotten)
            _log.warning("fleet.runs_forgotten", requeued=requeued)
        self._unknown = unknown

    async def _fence_if_late(self) -> float:
        """End all agents if the last renewal is too long ago: of a machine that slept, or a server that is away."""
        if _read_clock() - self._renewed >= SELF_FENCE_SECONDS:
            if not self._is_fenced:
                _log.error("fleet.cut_off", runs=len(self._worker.current_run_ids))
            self._is_fenced = True
            self._worker.interrupt_all(Interrupt.FENCED)
        return FENCE_CHECK_SECONDS


def _read_clock() -> float:
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
