"""Executes each run that was claimed for this process in a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway import log
from gateway.domain.ports.store import Commit, Store
from gateway.domain.run import ClaimedRun
from gateway.engine.execution.attempt import Attempt, Interrupt
from gateway.engine.execution.executor import Executor

#: seconds that attempts may take to end after they were interrupted
ATTEMPT_INTERRUPT_TIMEOUT_SECONDS = 8.0
#: seconds that attempts may take to end after their tasks were cancelled
ATTEMPT_CANCEL_TIMEOUT_SECONDS = 1.0

_log = log.get()


class Worker:
    """Executes each claimed run as an attempt, whichever commit has claimed it."""

    def __init__(self, store: Store, executor: Executor, owner: str) -> None:
        self._executor = executor
        self._owner = owner
        #: the attempts in progress, by the id of their run
        self._attempts: dict[str, Attempt] = {}
        #: the last attempt of each session
        self._sessions: dict[str, asyncio.Task[None]] = {}
        self._is_stopped = False
        store.subscribe(self._begin_claimed)

    def interrupt_run(self, run: str, why: Interrupt) -> None:
        """Interrupt the attempt at a run, if this process works on it."""
        attempt = self._attempts.get(run)
        if attempt is not None:
            attempt.interrupt(why)

    async def stop(self, grace: float) -> None:
        """Give attempts `grace` seconds, then interrupt them: their runs are requeued. Stop claiming first."""
        await self._wait_for_attempts(grace)
        self.interrupt_all()
        await self._wait_for_attempts(ATTEMPT_INTERRUPT_TIMEOUT_SECONDS)
        for attempt in self._attempts.values():
            attempt.task.cancel()
        await self._wait_for_attempts(ATTEMPT_CANCEL_TIMEOUT_SECONDS)
        self._is_stopped = True

    def find_attempt(self, run: str) -> asyncio.Task[None] | None:
        """Return the task of the attempt at a run; None if this process does not work on it."""
        attempt = self._attempts.get(run)
        return None if attempt is None else attempt.task

    @property
    def current_run_ids(self) -> Sequence[str]:
        """The ids of the runs that this process works on."""
        return list(self._attempts)

    def interrupt_all(self, why: Interrupt = Interrupt.STOP) -> None:
        """Interrupt all attempts: their runs are requeued, or end, by their policy."""
        for attempt in self._attempts.values():
            attempt.interrupt(why)

    async def _wait_for_attempts(self, seconds: float) -> None:
        if self._sessions:  # each one ends after those before it
            await asyncio.wait(list(self._sessions.values()), timeout=seconds)

    def _begin_claimed(self, commit: Commit) -> None:
        """Begin the runs that a commit has claimed."""
        if self._is_stopped:
            return
        for claimed in commit.claimed:
            if claimed.run.owner == self._owner:
                self._start_attempt(claimed)

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
