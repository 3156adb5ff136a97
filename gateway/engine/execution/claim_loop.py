"""Claims runs for this process while there is room."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from gateway.domain.ports.store import Commit, Store
from gateway.domain.queue import RunLimits
from gateway.domain.times import Clock
from gateway.engine.service_loop import RETRY_SECONDS, ServiceLoop, log_errors
from gateway.engine.storage_retry import RETRYABLE_STORAGE_ERRORS

#: seconds after which the queue is checked even if nobody has asked for that
MAX_CLAIM_SLEEP_SECONDS = 30.0
#: seconds that a claim in progress may still take when claiming stops
LAST_CLAIM_TIMEOUT_SECONDS = 5.0


class RunSource(Protocol):
    """Where this process gets its runs from. The worker begins those that a commit has claimed."""

    def start(self) -> None:
        """Start taking runs."""
        ...

    async def stop(self) -> None:
        """Take no more runs. When this returns, all that were taken have begun. Stopping twice is fine."""
        ...

    def wake(self) -> None:
        """Look for runs now: there may be some that no commit of this process lets begin."""
        ...

    def note_due(self, due: int | None) -> None:
        """Look for runs when an accepted run may begin.

        Args:
            due: in milliseconds since 1970 UTC; None for now: the commit that accepted the run has taken it if there
                was room for it.
        """
        ...

    def set_limits(self, limits: RunLimits) -> None:
        """Take runs by other limits from now on. Attempts in progress continue."""
        ...

    async def close(self) -> None:
        """End everything, also what takes too long to stop."""
        ...


class Claims(Protocol):
    """How queued runs are begun."""

    def begin_at_commit(self, limits: RunLimits | None) -> None:
        """From now on, begin the runs that a commit lets begin with that same commit; None ends this."""
        ...

    async def begin(self, limits: RunLimits) -> None:
        """Begin as many runs as the limits allow."""
        ...


class OwnClaims:
    """Claims for this process."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner

    def begin_at_commit(self, limits: RunLimits | None) -> None:
        self._store.claim_at_commit(self._owner, limits)

    async def begin(self, limits: RunLimits) -> None:
        await self._store.runs.claim(self._owner, limits)


class ClaimLoop:
    """The service that begins queued runs: `RunSource` of a process that has its store for itself.

    Most runs are claimed by the commit that accepts them, or that ends the one before. The loop claims what no commit
    of this process lets begin: what waits at the start, is due, waits for other limits, or was written by another
    process.
    """

    def __init__(self, store: Store, claims: Claims, limits: RunLimits, clock: Clock) -> None:
        self._store = store
        self._claims = claims
        self._limits = limits
        self._clock = clock
        self._loop = ServiceLoop(
            "claim",
            self._run_step,
            log_errors("worker.cannot_claim", "worker.broke"),
            retry_seconds=RETRY_SECONDS,
        )
        self._is_claiming = False
        store.subscribe(self._wake_if_due)
        #: when the next delayed run is due, in milliseconds since 1970 UTC; None if there is none
        self._due: int | None = None
        self._due_known = False

    def set_limits(self, limits: RunLimits) -> None:
        self._limits = limits
        if self._is_claiming:
            self._claims.begin_at_commit(limits)
        self.wake()

    def wake(self) -> None:
        self._loop.wake()

    def note_due(self, due: int | None) -> None:
        if due is not None:
            self._due = due if self._due is None else min(self._due, due)
            self._loop.wake()

    def start(self) -> None:
        self._is_claiming = True
        self._claims.begin_at_commit(self._limits)
        self._loop.start()

    async def stop(self) -> None:
        """Stop claiming. When this returns, all claimed runs have begun, unless a claim takes longer than 5 seconds."""
        self._is_claiming = False
        self._claims.begin_at_commit(None)
        # A claim in progress is not cancelled: a run whose claim is on disk must begin.
        await self._loop.finish_step(LAST_CLAIM_TIMEOUT_SECONDS)
        with contextlib.suppress(TimeoutError, *RETRYABLE_STORAGE_ERRORS):
            async with asyncio.timeout(LAST_CLAIM_TIMEOUT_SECONDS):
                await self._store.wait_for_writes()

    async def close(self) -> None:
        """End the loop, also a claim that takes too long."""
        await self._loop.stop()

    def _wake_if_due(self, commit: Commit) -> None:
        if commit.is_claim_due:
            self._loop.wake()

    async def _run_step(self) -> float:
        await self._claim_runs()
        return await self._seconds_until_due()

    async def _claim_runs(self) -> None:
        """Claim all runs that there is room for, so that the worker may sleep until it is woken."""
        await self._claims.begin(self._limits)

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
