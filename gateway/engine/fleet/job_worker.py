"""Takes dispatched runs from the queues of this host's agents, and works on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway import log
from gateway.domain.fleet import Node
from gateway.domain.ports.fleet_store import FleetStore, JobQueue
from gateway.domain.times import Clock
from gateway.engine.execution.worker import Worker
from gateway.engine.fleet.dispatch_waits import DispatchWaits
from gateway.engine.storage_retry import until_stored
from gateway.errors import GatewayError

#: seconds until the queues are read again after the server was away: at first, and at last
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 10.0

_log = log.get()


class JobWorker:
    """The service that takes jobs. A job lasts as long as its attempt; an attempt may outlive its job."""

    def __init__(
        self,
        jobs: JobQueue,
        fleet: FleetStore,
        node: Node,
        worker: Worker,
        clock: Clock,
        *,
        queues: Sequence[str],
        binds_session: Callable[[str], bool],
        may_begin: Callable[[], bool],
    ) -> None:
        """Args:
        binds_session: tells whether an agent keeps files on its host.
        may_begin: tells whether this process may begin runs now.
        """
        self._jobs = jobs
        self._fleet = fleet
        self._node = node
        self._worker = worker
        self._clock = clock
        self._queues = queues
        self._binds_session = binds_session
        self._may_begin = may_begin
        self._free = asyncio.Semaphore(max(node.slots, 1))
        self._task: asyncio.Task[None] | None = None
        #: of the runs that it has claimed
        self.waits = DispatchWaits()

    def start(self) -> None:
        """Start taking jobs."""
        if self._node.slots:
            self._task = asyncio.create_task(self._work(), name="job-worker")

    async def stop(self) -> None:
        """Take no more jobs. Attempts in progress continue."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _work(self) -> None:
        pause = MIN_RETRY_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self._jobs.work(self._queues, self._node.slots, self._execute)
            except GatewayError as error:
                _log.warning("fleet.cannot_take_jobs", error=str(error))
            except Exception:
                _log.exception("fleet.job_worker_broke")
            pause = MIN_RETRY_SECONDS if loop.time() - begun > MAX_RETRY_SECONDS else min(pause * 2, MAX_RETRY_SECONDS)
            await asyncio.sleep(pause)

    async def _execute(self, run: str, agent: str, epoch: int, dispatched: int) -> None:
        """Claim a run and wait for its attempt. A job that comes too late does nothing."""
        await self._free.acquire()
        attempt = None
        try:
            attempt = await self._claim(run, agent, epoch, dispatched)
        finally:
            if attempt is None:
                self._free.release()
            else:
                attempt.add_done_callback(lambda _: self._free.release())
        if attempt is not None:
            await asyncio.wait({attempt})

    async def _claim(self, run: str, agent: str, epoch: int, dispatched: int) -> asyncio.Task[None] | None:
        if not self._may_begin():
            return None
        host = self._node.host if self._binds_session(agent) else None
        claimed = await until_stored(lambda: self._fleet.claim(run, epoch, self._node.name, host))
        if not claimed:
            return None
        self.waits.count_wait(max(self._clock() - dispatched, 0) / 1000)
        return self._worker.find_attempt(run)
