"""Lets one member of a fleet lead: it fires schedules, sends deliveries, receives messages, rescues runs and prunes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway import log
from gateway.domain.ports.fleet_store import FleetStore, LeaderLock
from gateway.domain.queue import RunLimits
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.engine.storage_retry import until_stored
from gateway.errors import Unavailable

#: seconds between two tries to lead, and between two looks whether this process still leads
ELECTION_SECONDS = 2.0
#: seconds without an answer of the server after which a leader ends its services: another one leads soon
STEP_DOWN_SECONDS = 10.0
#: seconds until a process that led asks once more for another one in its place
REPLACEMENT_RETRY_SECONDS = 30.0
#: seconds between two looks for lost jobs
MENDING_SECONDS = 10.0
#: seconds without such a look after which hosts that were not seen are given their time once more
MAX_MENDING_BREAK_SECONDS = 30.0

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
        on_lost: is called when this process leads no more, and the server answers: another one must take its place.
        """
        self._lock = lock
        self._fleet = fleet
        self._name = name
        self._limits = limits
        self._move_after = move_after
        self._on_lost = on_lost
        self._lead: Callable[[], Awaitable[None]] | None = None
        self._step_down: Callable[[], Awaitable[None]] | None = None
        self._has_stepped_down = False
        #: since when the jobs are looked at without a break, and when they were last, by the clock of the event loop
        self._mends_since = self._mended_at = 0.0
        #: when this process was last known to hold the lock, by the clock of the event loop
        self._held_at = 0.0
        #: starts the services of the leader, and has started them; None while another process leads
        self._leading: asyncio.Task[None] | None = None
        self._election = ServiceLoop(
            "election", self._elect, log_errors("fleet.cannot_lead"), retry_seconds=ELECTION_SECONDS
        )
        self._mending = ServiceLoop(
            "job-mending", self._mend_jobs, log_errors("fleet.cannot_mend_jobs"), retry_seconds=MENDING_SECONDS
        )

    def start(self, lead: Callable[[], Awaitable[None]], step_down: Callable[[], Awaitable[None]]) -> None:
        """Try to lead from now on.

        Args:
            lead: starts the services of the leader.
            step_down: ends them; they cannot be started again in this process.
        """
        self._lead, self._step_down = lead, step_down
        self._election.start()

    async def end_election(self) -> None:
        """Begin to lead no more. A process that leads still holds the lock. Ending twice is fine."""
        await self._election.stop()
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.wait({self._leading})

    async def stop(self) -> None:
        """Let another process lead. The services of the leader have ended. Stopping twice is fine."""
        await self.end_election()
        await self._mending.stop()
        await self._lock.release()

    async def _elect(self) -> float | None:
        if self._has_stepped_down:
            await self._fleet.find_dead_owners(())  # the server answers again: a new process can start
            self._on_lost()
            return REPLACEMENT_RETRY_SECONDS
        if self._leading is None:
            if await self._lock.try_acquire():
                self._held_at = asyncio.get_running_loop().time()
                self._leading = asyncio.create_task(self._start_to_lead(), name="leading")
        elif not await self._still_leads():
            _log.warning("fleet.leadership_lost")
            await self._end_services()
            return 0
        return ELECTION_SECONDS

    async def _still_leads(self) -> bool:
        """Look at the lock, also while the services start. A break of the server is waited for a little.

        Raises:
            Unavailable: the server does not answer, and did so a moment ago.
        """
        now = asyncio.get_running_loop().time
        try:
            is_held = await self._lock.is_held() or await self._lock.try_acquire()
        except Unavailable:
            if now() - self._held_at < STEP_DOWN_SECONDS:
                raise
            return False
        if is_held:
            self._held_at = now()
        return is_held

    async def _end_services(self) -> None:
        self._has_stepped_down = True
        assert self._leading is not None
        assert self._step_down is not None
        self._leading.cancel()
        await asyncio.wait({self._leading})
        await self._mending.stop()
        await self._step_down()
        await self._lock.release()

    async def _start_to_lead(self) -> None:
        _log.info("fleet.leads", node=self._name)
        assert self._lead is not None
        try:
            await until_stored(lambda: self._fleet.set_leader(self._name))
            await self._lead()
        except Exception:  # the services have begun in part: another process has to lead
            _log.exception("fleet.cannot_lead")
            self._has_stepped_down = True
            return
        self._mending.start()

    async def _mend_jobs(self) -> float:
        """Look for runs whose jobs are lost, and dispatch what may begin: a member may have died before it did."""
        now = asyncio.get_running_loop().time()
        if now - self._mended_at > MAX_MENDING_BREAK_SECONDS:  # nobody could say that it was there
            self._mends_since = now
        may_be_gone = (now - self._mends_since) * 1000 >= self._move_after
        lost = await self._fleet.restore_lost_jobs(self._move_after if may_be_gone else None)
        self._mended_at = now
        if lost:
            _log.warning("fleet.jobs_mended", lost=lost)
        await self._fleet.dispatch(self._limits())
        await self._fleet.prune_nodes()
        return MENDING_SECONDS
