"""Claims runs while there is room, and executes each in its own task."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from gateway import log
from gateway.domain.ports.store import Commit, Store
from gateway.domain.queue import RunLimits
from gateway.domain.run import ClaimedRun
from gateway.domain.times import Clock
from gateway.engine.execution.attempt import Attempt, Interrupt
from gateway.engine.execution.executor import Executor
from gateway.engine.service_loop import RETRY_SECONDS, ServiceLoop, log_errors
from gateway.engine.storage_retry import RETRYABLE_STORAGE_ERRORS

#: seconds after which the worker checks the queue even if nobody has woken it
MAX_CLAIM_SLEEP_SECONDS = 30.0
#: seconds that a claim in progress may still take when the worker stops
LAST_CLAIM_TIMEOUT_SECONDS = 5.0
#: seconds that attempts may take to end after they were interrupted
ATTEMPT_INTERRUPT_TIMEOUT_SECONDS = 8.0
#: seconds that attempts may take to end after their tasks were cancelled
ATTEMPT_CANCEL_TIMEOUT_SECONDS = 1.0

_log = log.get()


class Worker:
    """The service that claims queued runs and executes each as an attempt.

    Most runs are claimed by the commit that accepts them, or that ends the one before: the worker only begins them.
    Its loop claims what no commit of this process lets begin: what waits at the start, is due, waits for other
    limits, or was written by another process.
    """

    def __init__(self, store: Store, executor: Executor, owner: str, limits: RunLimits, clock: Clock) -> None:
        self._store = store
        self._executor = executor
        self._owner = owner
        self._limits = limits
        self._clock = clock
        self._loop = ServiceLoop(
            "worker",
            self._run_step,
            log_errors("worker.cannot_claim", "worker.broke"),
            retry_seconds=RETRY_SECONDS,
        )
        #: the attempts in progress, by the id of their run
        self._attempts: dict[str, Attempt] = {}
        #: the last attempt of each session
        self._sessions: dict[str, asyncio.Task[None]] = {}
        self._is_claiming = self._is_stopped = False
        store.subscribe(self._begin_claimed)
        #: when the next delayed run is due, in milliseconds since 1970 UTC; None if there is none
        self._due: int | None = None
        self._due_known = False

    def set_limits(self, limits: RunLimits) -> None:
        """Claim by other limits from now on. Attempts in progress continue."""
        self._limits = limits
        if self._is_claiming:
            self._store.claim_at_commit(self._owner, limits)
        self.wake()

    def wake(self) -> None:
        """Wake the worker: there may be a run to claim."""
        self._loop.wake()

    def note_due(self, due: int | None) -> None:
        """Wake the worker when an accepted run may begin.

        Args:
            due: in milliseconds since 1970 UTC; None for now: the commit that accepted the run has claimed it if there
                was room for it.
        """
        if due is not None:
            self._due = due if self._due is None else min(self._due, due)
            self._loop.wake()

    def interrupt_run(self, run: str, why: Interrupt) -> None:
        """Interrupt the attempt at a run, if this process works on it."""
        attempt = self._attempts.get(run)
        if attempt is not None:
            attempt.interrupt(why)

    def start(self) -> None:
        """Start claiming queued runs and executing them."""
        self._is_claiming = True
        self._store.claim_at_commit(self._owner, self._limits)
        self._loop.start()

    async def stop_claiming(self) -> None:
        """Stop claiming. When this returns, all claimed runs have begun, unless a claim takes longer than 5 seconds."""
        self._is_claiming = False
        self._store.claim_at_commit(self._owner, None)
        # A claim in progress is not cancelled: a run whose claim is on disk must begin.
        await self._loop.finish_step(LAST_CLAIM_TIMEOUT_SECONDS)
        with contextlib.suppress(TimeoutError, *RETRYABLE_STORAGE_ERRORS):
            async with asyncio.timeout(LAST_CLAIM_TIMEOUT_SECONDS):
                await self._store.wait_for_writes()

    async def stop(self, grace: float) -> None:
        """Stop claiming, give attempts `grace` seconds, then interrupt them: their runs are requeued."""
        await self.stop_claiming()
        await self._wait_for_attempts(grace)
        self.interrupt_all()
        await self._wait_for_attempts(ATTEMPT_INTERRUPT_TIMEOUT_SECONDS)
        for attempt in self._attempts.values():
            attempt.task.cancel()
        await self._wait_for_attempts(ATTEMPT_CANCEL_TIMEOUT_SECONDS)
        self._is_stopped = True
        await self._loop.stop()

    @property
    def current_run_ids(self) -> Sequence[str]:
        """The ids of the runs that this process works on."""
        return list(self._attempts)

    def interrupt_all(self) -> None:
        """Interrupt all attempts: their runs are requeued, or end, by their policy."""
        for attempt in self._attempts.values():
            attempt.interrupt(Interrupt.STOP)

    async def _wait_for_attempts(self, seconds: float) -> None:
        if self._sessions:  # each one ends after those before it
            await asyncio.wait(list(self._sessions.values()), timeout=seconds)

    async def _run_step(self) -> float:
        await self._claim_runs()
        return await self._seconds_until_due()

    async def _claim_runs(self) -> None:
        """Claim all runs that there is room for, so that the worker may sleep until it is woken."""
        await self._store.runs.claim(self._owner, self._limits)

    def _begin_claimed(self, commit: Commit) -> None:
        """Begin the runs that a commit has claimed."""
        if self._is_stopped:
            return
        for claimed in commit.claimed:
            if claimed.run.owner == self._owner:
                self._start_attempt(claimed)
        if commit.is_claim_due:
            self._loop.wake()

    def _start_attempt(self, claimed: ClaimedRun) -> None:
        run, attempt = claimed.run, Attempt(claimed)
        self._attempts[run.id] = attempt
        if run.cancel_requested:
            attempt.interrupt(Interrupt.CANCEL)
        session = run.spec.session
        work = self._execute_attempt(attempt, self._sessions.get(session))
        attempt.task = self._sessions[session] = asyncio.create_task(work, name=f"run-{run.id}")

    async def _execute_attempt(self, attempt: Attempt, before: asyncio.Task[None] | None) -> None:
        """Execute an attempt after the one before it in its session: that one may still clean its workspace."""
        run = attempt.run
        try:
            if before is not None:
                await attempt.wait_for(before, ATTEMPT_INTERRUPT_TIMEOUT_SECONDS)
            await self._executor.execute_attempt(attempt)
        except Exception:
            _log.exception("run.lost", run=run.id)
        finally:
            if self._attempts.get(run.id) is attempt:
                del self._attempts[run.id]
            if self._sessions.get(run.spec.session) is attempt.task:
                del self._sessions[run.spec.session]

    async def _seconds_until_due(self) -> float:
        """Return the seconds until the next delayed run is due. The store is asked only if that may have changed."""
        if not self._due_known or (self._due is not None and self._due <= self._clock()):
            self._due, self._due_known = None, False
            stored = await self._store.runs.next_due_at()
            # Another run may have been accepted while the store answered.
            self._due, self._due_known = min(filter(None, (stored, self._due)), default=None), True
        if self._due is None:
            return MAX_CLAIM_SLEEP_SECONDS
        return min(max((self._due - self._clock()) / 1000, 0.0) + 0.001, MAX_CLAIM_SLEEP_SECONDS)
