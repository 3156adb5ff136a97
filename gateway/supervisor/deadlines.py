"""Deadlines of generations: a generation that is not ready in time, hangs, or does not end is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from gateway.config import Config
from gateway.supervisor.generation import Generation, GenerationState

#: seconds from the end of a grace to the kill: less than `gateway stop` gives
KILL_MARGIN_SECONDS = 0.8
#: seconds that a generation has to confirm that it has stepped down; meanwhile its successor waits
YIELD_TIMEOUT_SECONDS = 8.0
#: seconds from the end of a drain to the kill: interrupted runs are queued again
DRAIN_KILL_MARGIN_SECONDS = 6.0
#: seconds that requests and runs have to finish when a migration waits; new connections wait, too
MIGRATION_GRACE_SECONDS = 5.0
#: seconds that a migration may take: it may rewrite the whole database
MIGRATION_LIMIT_SECONDS = 600.0
#: seconds that a hung generation has to log where it hangs
HANG_DUMP_SECONDS = 1.0
#: seconds between two checks after which this process itself was suspended; then no generation counts as silent
ABSENCE_SECONDS = 3.0


class TimeLimits(NamedTuple):
    """Times in seconds, from the settings."""

    stop_grace: float
    drain: float
    #: silence after which a generation counts as hung
    hang: float
    #: time that a generation has to become ready
    ready: float

    @classmethod
    def from_config(cls, settings: Config) -> Self:
        known = settings.gateway
        return cls(known.stop_grace, known.drain_timeout, known.hang_timeout, known.ready_timeout)


class DeadlineWatch:
    """Checks the generations regularly, and kills those whose deadline has passed."""

    def __init__(self, log: Callable[..., Any]) -> None:
        self._log = log
        self._checked_at = time.monotonic()

    def enforce_deadlines(self, generations: Sequence[Generation], limits: TimeLimits) -> None:
        """Kill the generations whose deadline has passed; set a deadline for those that are late or hang."""
        now = time.monotonic()
        was_suspended, self._checked_at = now - self._checked_at > ABSENCE_SECONDS, now
        for one in generations:
            if was_suspended:
                one.heard = now
            if one.deadline is not None and now > one.deadline:
                self._log("generation.killed", generation=one.number, state=one.state.value)
                one.send_signal()
                one.deadline = None
            elif one.state is GenerationState.STARTING:
                self._expect_ready(one, limits, now)
            elif one.silent_for() > limits.hang and not one.hangs:
                self._condemn_hung(one, limits, now)

    def _expect_ready(self, one: Generation, limits: TimeLimits, now: float) -> None:
        limit = MIGRATION_LIMIT_SECONDS if one.migrates else limits.ready
        if now - one.started > limit and not one.error:
            one.error = f"it was not ready within {limit:g} s"
            one.deadline = now

    def _condemn_hung(self, one: Generation, limits: TimeLimits, now: float) -> None:
        """Kill a generation that hangs, after it has had time to log where."""
        one.hangs = True
        one.error = f"it hung: it sent no heartbeat for {limits.hang:g} s"
        one.deadline = min(one.deadline or now + HANG_DUMP_SECONDS, now + HANG_DUMP_SECONDS)
        self._log("generation.hangs", generation=one.number, error=one.error)
        one.send_signal(signal.SIGUSR2)
