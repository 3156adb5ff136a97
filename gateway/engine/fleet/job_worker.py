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
#: seconds for which a job waits for a free slot: after a break of the queues, there may be more jobs than slots. A job
#: that is given up is dispatched again
SLOT_WAIT_SECONDS = 5.0
#: seconds that the jobs in progress have to be given up
JOB_STOP_SECONDS = 5.0

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
        self._claims: set[asyncio.Task[asyncio.Task[None] | None]] = set()
        #: is set when no more jobs are to be taken
        self._ending = asyncio.Event()
        #: of the runs that it has claimed
        self.waits = DispatchWaits()

    def start(self) -> None:
        """Start taking jobs."""
        if self._node.slots:
            self._task = asyncio.create_task(self._work(), name="job-worker")

    async def stop(self) -> None:
        """Take no more jobs. Attempts in progress continue. Stopping twice is fine."""
        self._ending.set()  # what takes jobs may turn its cancellation into another error: then the loop ends after it
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task, *self._claims}, timeout=JOB_STOP_SECONDS)

    async def _work(self) -> None:
        pause = MIN_RETRY_SECONDS
        loop = asyncio.get_running_loop()
        while not self._ending.is_set():
            begun = loop.time()
            try:
                await self._jobs.work(self._queues, self._node.slots, self._execute)
            except GatewayError as error:
                _log.warning("fleet.cannot_take_jobs", error=str(error))
            except Exception:
                _log.exception("fleet.job_worker_broke")
            if self._ending.is_set():
                return
            pause = MIN_RETRY_SECONDS if loop.time() - begun > MAX_RETRY_SECONDS else min(pause * 2, MAX_RETRY_SECONDS)
            await asyncio.sleep(pause)

    async def _execute(self, run: str, agent: str, epoch: int, dispatched: int) -> None:
        """Claim a run and wait for its attempt. A job that comes too late does nothing."""
        try:
            await asyncio.wait_for(self._free.acquire(), SLOT_WAIT_SECONDS)
        except TimeoutError:
            return
        claiming = asyncio.create_task(self._claim(run, agent, epoch, dispatched))
        self._claims.add(claiming)
        claiming.add_done_callback(self._keep_slot)
        try:
            attempt = await asyncio.shield(claiming)  # a claim that is on its way begins an attempt in any case
        except Exception:  # what takes jobs tells nobody
            _log.exception("fleet.cannot_claim", run=run)
            return
        if attempt is not None:
            await asyncio.wait({attempt})

    def _keep_slot(self, claiming: asyncio.Task[asyncio.Task[None] | None]) -> None:
        """Give the slot of a claim back when its attempt has ended, or at once if there is none."""
        self._claims.discard(claiming)
        attempt = None if claiming.cancelled() or claiming.exception() is not None else claiming.result()
        if attempt is None:
            self._free.release()
        else:
            attempt.add_done_callback(lambda _: self._free.release())

    async def _claim(self, run: str, agent: str, epoch: int, dispatched: int) -> asyncio.Task[None] | None:
        if not self._may_begin():
            return None
        host = self._node.host if self._binds_session(agent) else None
        claimed = await until_stored(lambda: self._fleet.claim(run, epoch, self._node.name, host))
        if not claimed:
            return None
        self.waits.count_wait(max(self._clock() - dispatched, 0) / 1000)
        return self._worker.find_attempt(run)
