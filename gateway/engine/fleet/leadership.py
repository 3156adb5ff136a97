"""Lets one member of a fleet lead: it fires schedules, sends deliveries, receives messages, rescues runs and prunes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway import log
from gateway.domain.ports.fleet_store import FleetStore, LeaderLock
from gateway.domain.queue import RunLimits
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.engine.storage_retry import until_stored

#: seconds between two tries to lead, and between two looks whether this process still leads
ELECTION_SECONDS = 2.0
#: seconds between two looks for lost jobs
MENDING_SECONDS = 10.0

_log = log.get()


class Leadership:
    """The service that tries to lead. If two lead for a moment, the store excludes what may be only once."""

    def __init__(
        self,
        lock: LeaderLock,
        fleet: FleetStore,
        name: str,
        *,
        limits: Callable[[], RunLimits],
        move_after: int,
        on_lost: Callable[[], None],
    ) -> None:
        """Args:
        name: of this node.
        limits: returns the limits by which runs are dispatched.
        move_after: milliseconds after which a host without a node is gone for good.
        on_lost: is called when another process leads in place of this one.
        """
        self._lock = lock
        self._fleet = fleet
        self._name = name
        self._limits = limits
        self._move_after = move_after
        self._on_lost = on_lost
        self._lead: Callable[[], Awaitable[None]] | None = None
        #: starts the services of the leader, and has started them; None while another process leads
        self._leading: asyncio.Task[None] | None = None
        self._election = ServiceLoop(
            "election", self._elect, log_errors("fleet.cannot_lead"), retry_seconds=ELECTION_SECONDS
        )
        self._mending = ServiceLoop(
            "job-mending", self._mend_jobs, log_errors("fleet.cannot_mend_jobs"), retry_seconds=MENDING_SECONDS
        )

    def start(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Try to lead from now on. Args: lead: starts the services of the leader."""
        self._lead = lead
        self._election.start()

    async def end_election(self) -> None:
        """Begin to lead no more. A process that leads still holds the lock. Ending twice is fine."""
        await self._election.stop()
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.wait({self._leading})

    async def stop(self) -> None:
        """Let another process lead. The services of the leader have ended."""
        await self.end_election()
        await self._mending.stop()
        await self._lock.release()

    async def _elect(self) -> float | None:
        if self._leading is None:
            if await self._lock.try_acquire():
                self._leading = asyncio.create_task(self._start_to_lead(), name="leading")
            return ELECTION_SECONDS
        if await self._lock.is_held() or await self._lock.try_acquire():  # also while the services start
            return ELECTION_SECONDS
        _log.warning("fleet.leadership_lost")
        self._on_lost()
        return None

    async def _start_to_lead(self) -> None:
        _log.info("fleet.leads", node=self._name)
        assert self._lead is not None
        try:
            await until_stored(lambda: self._fleet.set_leader(self._name))
            await self._lead()
        except Exception:
            _log.exception("fleet.cannot_lead")
            self._on_lost()  # the services have begun in part: another process has to lead
            return
        self._mending.start()

    async def _mend_jobs(self) -> float:
        """Look for runs whose jobs are lost, and dispatch what may begin: a member may have died before it did."""
        lost = await self._fleet.restore_lost_jobs(self._move_after)
        if lost:
            _log.warning("fleet.jobs_mended", lost=lost)
        await self._fleet.dispatch(self._limits())
        await self._fleet.prune_nodes()
        return MENDING_SECONDS
