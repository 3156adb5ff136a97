"""The loop of a service: a step, then a sleep until the next one is due or somebody wakes it, until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from gateway import log
from gateway.errors import GatewayError

#: does one piece of work; returns the seconds until the next step, or None to end the loop
Step = Callable[[], Awaitable[float | None]]

#: seconds until a step that failed is retried, because the disk refuses or the queue is full
RETRY_SECONDS = 1.0

_log = log.get()


class LeaderService(Protocol):
    """A service that runs while this process leads; in a fleet, a process may lead several times."""

    def start(self) -> None:
        """Start: this process leads from now on."""
        ...

    async def stop(self) -> None:
        """Stop: another process may lead. Stopping twice is fine."""
        ...


def log_errors(
    event: str, bug_event: str | None = None, *, all_as_bugs: bool = False, **fields: Any
) -> Callable[[Exception], None]:
    """Return a function that logs what a step raises: our own errors as warnings, bugs with their traceback.

    Args:
        bug_event: the name of the event for bugs; `event` if not given.
        all_as_bugs: log our own errors like bugs, too.
        fields: added to both events.
    """

    def log_error(error: Exception) -> None:
        if isinstance(error, GatewayError) and not all_as_bugs:
            _log.warning(event, error=str(error), **fields)
        else:
            _log.error(bug_event or event, exc_info=error, **fields)

    return log_error


class ServiceLoop:
    """Repeats a step in its own task. A step that fails is logged and retried. A loop is started once."""

    def __init__(
        self, name: str, step: Step, log_error: Callable[[Exception], None], *, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        """Args:
        name: the name of the task.
        log_error: see `log_errors`.
        retry_seconds: how long to sleep after a step that failed.
        """
        self._name = name
        self._step = step
        self._log_error = log_error
        self._retry_seconds = retry_seconds
        self._woken = asyncio.Event()
        #: whether no more steps are to begin
        self._ending = False
        self._cancelled = False
        self._longest_delay = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self, delay: float = 0.0) -> None:
        """Start the loop, unless it was stopped before.

        Args:
            delay: seconds before the first step.
        """
        assert self._task is None, "a loop is started once"
        self._task = asyncio.create_task(self._repeat_step(delay), name=self._name)

    def wake(self) -> None:
        """Run the next step now. If a step is under way, another one follows it at once."""
        self._woken.set()

    async def finish_step(self, seconds: float) -> None:
        """Start no more steps. Wait at most so many seconds for the step under way, and do not cancel it."""
        self._ending = True
        self.wake()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)

    async def stop(self) -> None:
        """Cancel the loop and the step under way, and wait for their end. Stopping twice is fine."""
        self._ending = True  # a step may catch its cancellation: then the loop ends after it
        if self._task is not None:
            if not self._cancelled:  # a second cancellation would interrupt the cleanup after the first
                self._cancelled = True
                self._task.cancel()
            await asyncio.wait({self._task})

    def take_longest_delay(self) -> float:
        """Return the most seconds that a sleep ended too late since the last call: the event loop was busy."""
        delay, self._longest_delay = self._longest_delay, 0.0
        return delay

    async def _repeat_step(self, delay: float) -> None:
        if delay and not self._ending:
            await self._sleep_until_woken(delay)
        while not self._ending:
            self._woken.clear()
            seconds = await self._run_step()
            if seconds is None:
                return
            if not self._ending:
                await self._sleep_until_woken(seconds)

    async def _run_step(self) -> float | None:
        """Run one step; log what it raises, whatever it is: the service must go on."""
        try:
            return await self._step()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            cancelled = RuntimeError("something that the step awaited was cancelled, but the step was not.")
            cancelled.__cause__ = error
            self._log_safely(cancelled)
        except Exception as error:
            self._log_safely(error)
        return self._retry_seconds

    def _log_safely(self, error: Exception) -> None:
        """Log an error. A log that cannot be written must not end the loop."""
        with contextlib.suppress(Exception):
            self._log_error(error)

    async def _sleep_until_woken(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            self._longest_delay = max(self._longest_delay, loop.time() - due)
