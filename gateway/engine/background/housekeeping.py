"""Forgets what is over and old, a little at a time: whoever hands in work meanwhile does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway import log
from gateway.domain.ports.store import Pruned, Store
from gateway.domain.retention import Retention, before
from gateway.domain.times import Clock

#: seconds between two transactions
PAUSE = 0.02

_log = log.get()


class Pruner:
    """Holds a store to its retention."""

    def __init__(self, store: Store, retention: Retention, outputs: Path, clock: Clock) -> None:
        """Args:
        outputs: directory of large outputs, which go with the events that name them.
        """
        self._store = store
        self._keep = retention
        self._outputs = outputs
        self._clock = clock

    async def prune(self) -> None:
        """Forget all that is too old by now."""
        now, keep = self._clock(), self._keep
        logs, runs, sessions = (before(now, days) for days in (keep.events_days, keep.runs_days, keep.sessions_days))
        dead = before(now, keep.dead_letters_days)
        if logs is not None or keep.events_runs is not None:
            await self._drop("events", lambda: self._store.retention.prune_events(logs, keep.events_runs))
        if dead is not None:  # before the runs, which they keep
            await self._drop("dead letters", lambda: self._store.retention.prune_dead_letters(dead))
        if runs is not None:
            await self._drop("runs", lambda: self._store.retention.prune_runs(runs))
        if sessions is not None:
            await self._drop("sessions", lambda: self._store.retention.prune_sessions(sessions))

    async def _drop(self, what: str, step: Callable[[], Awaitable[Pruned]]) -> None:
        steps = 0
        while (pruned := await step()).more:
            steps += 1
            if pruned.runs:
                await asyncio.to_thread(_remove_outputs, self._outputs, frozenset(pruned.runs))
            await asyncio.sleep(PAUSE)
        if steps:
            _log.info("retention.pruned", what=what, steps=steps)


def _remove_outputs(directory: Path, runs: frozenset[str]) -> None:
    """Remove the files of some runs: each is named after its run, see `recorder.py`."""
    if directory.is_dir():
        for file in directory.iterdir():
            if file.name.partition("-")[0] in runs:
                file.unlink(missing_ok=True)
