"""Claims runs while there is room, and executes each in its own task."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway import log
from gateway.domain.ports.store import Store
from gateway.domain.queue import Limits
from gateway.domain.run import Run, Status
from gateway.domain.times import Clock
from gateway.engine.execution.executor import Attempt, Cut, Executor
from gateway.engine.service_loop import RETRY_SECONDS, ServiceLoop, log_errors

#: seconds after which the worker checks the queue even if nobody has woken it
LONGEST_SLEEP = 30.0
#: seconds that a claim in progress may still take when the worker stops
LAST_CLAIM = 5.0
#: seconds that attempts may take to end after they were interrupted
CUTTING = 8.0
#: seconds that attempts may take to end after their tasks were cancelled
LAST = 1.0

_log = log.get()


class Worker:
    """The service that claims queued runs and executes each as an attempt."""

    def __init__(self, store: Store, executor: Executor, owner: str, limits: Limits, clock: Clock) -> None:
        self._store = store
        self._executor = executor
        self._owner = owner
        self._limits = limits
        self._clock = clock
        self._loop = ServiceLoop(
            "worker",
            self._claim_due,
            log_errors("worker.cannot_claim", "worker.broke"),
            retry_seconds=RETRY_SECONDS,
        )
        #: the attempts in progress, by the id of their run
        self._attempts: dict[str, Attempt] = {}
        #: when the next delayed run is due, in milliseconds since 1970 UTC; None if there is none
        self._due: int | None = None
        self._due_known = False

    def limit(self, limits: Limits) -> None:
        """Claim by other limits from now on. Attempts in progress continue."""
        self._limits = limits
        self.call()

    def call(self) -> None:
        """Wake the worker: there may be a run to claim."""
        self._loop.wake()

    def call_for(self, agent: str, due: int | None) -> None:
        """Wake the worker for an accepted run, if there is room for it; without room, the end of an attempt wakes it.

        Args:
            due: when the run may begin, in milliseconds since 1970 UTC; None for now.
        """
        if due is not None:
            self._due = due if self._due is None else min(self._due, due)
        elif sum(attempt.agent == agent for attempt in self._attempts.values()) >= self._limits.agents.get(agent, 0):
            return
        self._loop.wake()

    def cut(self, run: str, why: Cut) -> None:
        """Interrupt the attempt at a run, if this process works on it."""
        attempt = self._attempts.get(run)
        if attempt is not None:
            attempt.cut(why)

    def start(self) -> None:
        """Start claiming."""
        self._loop.start()

    async def stop_claiming(self) -> None:
        """Stop claiming. When this returns, all claimed runs have begun."""
        await self._loop.finish_step(LAST_CLAIM)  # not cancelled: a run whose claim is on disk must begin

    async def stop(self, grace: float) -> None:
        """Stop claiming, give attempts `grace` seconds, then interrupt them: their runs are requeued."""
        await self.stop_claiming()
        await self._wait_for_attempts(grace)
        self.cut_all()
        await self._wait_for_attempts(CUTTING)
        for attempt in self._attempts.values():
            attempt.task.cancel()
        await self._wait_for_attempts(LAST)
        await self._loop.stop()

    @property
    def attempts(self) -> Sequence[str]:
        """The ids of the runs that this process works on."""
        return list(self._attempts)

    def cut_all(self) -> None:
        """Interrupt all attempts: their runs are requeued, or end, by their policy."""
        for attempt in self._attempts.values():
            attempt.cut(Cut.STOP)

    async def _wait_for_attempts(self, seconds: float) -> None:
        if self._attempts:
            await asyncio.wait([attempt.task for attempt in self._attempts.values()], timeout=seconds)

    async def _claim_due(self) -> float:
        await self._claim()
        return await self._sleep()

    async def _claim(self) -> None:
        """Claim all runs that there is room for, so that the worker may sleep until it is woken."""
        if len(self._attempts) < self._limits.total:
            for run in await self._store.runs.claim(self._owner, self._limits):
                if run.status is Status.RUNNING:
                    self._begin(run)
                else:  # a budget refused it: there may be room for another run
                    self._loop.wake()

    def _begin(self, run: Run) -> None:
        attempt = Attempt(run)
        self._attempts[run.id] = attempt
        if run.cancel_requested:
            attempt.cut(Cut.CANCEL)
        attempt.task = asyncio.create_task(self._execute(attempt), name=f"run-{run.id}")

    async def _execute(self, attempt: Attempt) -> None:
        try:
            await self._executor.execute(attempt)
        except Exception:
            _log.exception("run.lost", run=attempt.run.id)
        finally:
            del self._attempts[attempt.run.id]
            self.call()

    async def _sleep(self) -> float:
        """Return the seconds until the next delayed run is due. The store is asked only if that may have changed."""
        if not self._due_known or (self._due is not None and self._due <= self._clock()):
            self._due, self._due_known = None, False
            stored = await self._store.runs.next_due_at()
            # Another run may have been accepted while the store answered.
            self._due, self._due_known = min(filter(None, (stored, self._due)), default=None), True
        if self._due is None:
            return LONGEST_SLEEP
        return min(max((self._due - self._clock()) / 1000, 0.0) + 0.001, LONGEST_SLEEP)
