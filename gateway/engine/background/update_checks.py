"""Asks for a newer version so often as the settings say, with the command that people use: `gateway update --check`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from pathlib import Path

from gateway import log
from gateway.domain.times import wall_clock
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.errors import TimedOut
from gateway.process.child import NO_TERMINAL, OUTPUT_BUFFER_BYTES, Child, Children
from gateway.process.own_command import mean_this_machine, spell_own_command
from gateway.updates.status import read_update_status

#: seconds after the start before the first question, at least: a gateway that starts has enough to do
FIRST_CHECK_SECONDS = 60.0
#: seconds that one question may take, and seconds until one that failed is asked again
CHECK_TIMEOUT_SECONDS, CHECK_RETRY_SECONDS = 300.0, 3600.0
#: part of a wait that is added at random, so that not all gateways ask at one moment
CHECK_JITTER = 0.1
#: seconds after which the clock is read again: it may be set forward
MAX_CHECK_SLEEP_SECONDS = 600.0

_log = log.get()


class UpdateChecks:
    """The service that asks for newer versions."""

    def __init__(self, home: Path, children: Children, environ: Mapping[str, str], seconds: float) -> None:
        """Args:
        home: the state directory, in which the command stores what it finds.
        environ: the whole environment of the gateway, with what pip or uv need to reach the place with versions.
        seconds: between two questions, also over restarts; a random part is added.
        """
        self._home = home
        self._children = children
        self._environ = {**mean_this_machine(environ), **NO_TERMINAL}
        self._seconds = seconds * random.uniform(1, 1 + CHECK_JITTER)  # noqa: S311 no secret
        #: when it asked last, on the clock of this process: what it found may not be stored
        self._asked_at: float | None = None
        self._loop: ServiceLoop | None = None

    def start(self) -> None:
        """Ask from now on."""
        self._loop = ServiceLoop(
            "update-checks",
            self._ask_if_due,
            log_errors("update.unchecked", "update.check_broke"),
            retry_seconds=CHECK_RETRY_SECONDS,
        )
        self._loop.start(delay=FIRST_CHECK_SECONDS)

    async def stop(self) -> None:
        """Ask no more, and end the command that asks. Stopping twice is fine."""
        if self._loop is not None:
            await self._loop.stop()

    async def _ask_if_due(self) -> float:
        """Ask if it is time. Returns the seconds until the service looks again."""
        wait = await asyncio.to_thread(seconds_until_due, self._home, self._seconds)
        if self._asked_at is not None:
            wait = max(wait, self._asked_at + self._seconds - time.monotonic())
        if wait > 0:
            return min(wait, MAX_CHECK_SLEEP_SECONDS)
        await self.ask_once()
        self._asked_at = time.monotonic()
        found = await asyncio.to_thread(read_update_status, self._home)
        if found is not None and found.error is not None:
            _log.warning("update.unchecked", error=found.error)
        return min(self._seconds, MAX_CHECK_SLEEP_SECONDS)

    async def ask_once(self) -> None:
        """Ask once; the command stores what it finds, also why it found nothing. It does not outlive this call.

        Raises:
            TimedOut: it has taken too long.
            AgentError, Exhausted: it cannot be started.
        """
        child: Child | None = None
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                child = await self._children.spawn_child(
                    spell_own_command("update", "--check", "--json"),
                    cwd=str(self._home),
                    env=self._environ,
                )
                child.close_stdin()
                while await child.stdout.read(OUTPUT_BUFFER_BYTES):
                    pass
                await child.wait_ended()
        except TimeoutError:
            raise TimedOut(f"no answer about newer versions within {CHECK_TIMEOUT_SECONDS:g} s.") from None
        finally:
            if child is not None:
                await child.stop_group()


def seconds_until_due(home: Path, seconds: float) -> float:
    """Return the seconds until the next question is due."""
    found = read_update_status(home)
    return 0.0 if found is None else min(seconds, seconds - (wall_clock() - found.checked_at) / 1000)
