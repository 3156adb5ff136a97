"""The loop of a service: a step, then a sleep until the next one is due or somebody wakes it, until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from gateway import log
from gateway.errors import GatewayError

#: does one piece of work; returns the seconds until the next step, or None to end the loop
Step = Callable[[], Awaitable[float | None]]

#: seconds until a step that failed is retried, because the disk refuses or the queue is full
RETRY_SECONDS = 1.0

_log = log.get()


def log_errors(event: str, bug_event: str | None = None, **fields: Any) -> Callable[[Exception], None]:
    """Return a function that logs what a step raises: our own errors as warnings, bugs with their traceback.

    Args:
        bug_event: the name of the event for bugs; `event` if not given.
        fields: added to both events.
    """

    def log_error(error: Exception) -> None:
        if isinstance(error, GatewayError):
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
        self._finishing = False
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self, delay: float = 0.0) -> None:
        """Start the loop.

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
        self._finishing = True
        self.wake()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)

    async def stop(self) -> None:
        """Cancel the loop and the step under way, and wait for their end. Stopping twice is fine."""
        if self._task is not None:
            if not self._stopping:  # a second cancellation would interrupt the cleanup after the first
                self._stopping = True
                self._task.cancel()
            await asyncio.wait({self._task})

    async def _repeat_step(self, delay: float) -> None:
        if delay:
            await self._sleep_until_woken(delay)
        while not self._finishing:
            self._woken.clear()
            try:
                seconds = await self._step()
            except Exception as error:  # whatever it is: the service must go on
                self._log_error(error)
                seconds = self._retry_seconds
            if seconds is None:
                return
            await self._sleep_until_woken(seconds)

    async def _sleep_until_woken(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
