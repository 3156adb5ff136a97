"""Deletes what is finished and old, and reindexes old messages, in small steps: callers do not notice it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway import log
from gateway.domain.ports.store import Store
from gateway.domain.ports.upkeep_store import Pruned
from gateway.domain.retention import Retention, compute_cutoff
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Agents
from gateway.engine.resources.generations import Generations
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.engine.storage_retry import until_stored

#: seconds between rounds of housekeeping
HOUSEKEEPING_INTERVAL_SECONDS = 600.0
#: seconds between two transactions of a round
PRUNING_PAUSE_SECONDS = 0.02
#: seconds between two transactions that update the search index
REINDEXING_PAUSE_SECONDS = 0.05

_log = log.get()


class Housekeeping:
    """The service that prunes the store at intervals, and brings its search index up to date once."""

    def __init__(self, store: Store, pruner: Pruner, agents: Agents, generations: Generations) -> None:
        self._store = store
        self._pruner = pruner
        self._agents = agents
        self._generations = generations
        log_error = log_errors("housekeeping.waits")
        self._rounds = ServiceLoop(
            "housekeeping", self._run_round, log_error, retry_seconds=HOUSEKEEPING_INTERVAL_SECONDS
        )
        self._reindexing = ServiceLoop(
            "reindexing", self._reindex_message_batch, log_error, retry_seconds=HOUSEKEEPING_INTERVAL_SECONDS
        )

    def start(self) -> None:
        """Start reindexing now, and pruning after the first interval: a gateway that starts has enough to do."""
        self._rounds.start(delay=HOUSEKEEPING_INTERVAL_SECONDS)
        self._reindexing.start()

    async def stop(self) -> None:
        """End both loops. Stopping twice is fine."""
        await self._rounds.stop()
        await self._reindexing.stop()

    async def _run_round(self) -> float:
        await self._store.retention.prune_expired()
        await self._pruner.prune_store()
        await self._agents.fail_orphaned_runs(configured=False)
        await self._generations.close_crashed()
        return HOUSEKEEPING_INTERVAL_SECONDS

    async def _reindex_message_batch(self) -> float | None:
        """Reindex some of the messages that an older version wrote. The loop ends when none is left."""
        more = await until_stored(self._store.sessions.reindex_message_batch)
        return REINDEXING_PAUSE_SECONDS if more else None


class Pruner:
    """Deletes what retention no longer keeps."""

    def __init__(self, store: Store, retention: Retention, outputs: Path, clock: Clock) -> None:
        """Args:
        outputs: directory of large outputs. They are deleted with the events that name them.
        """
        self._store = store
        self._keep = retention
        self._outputs = outputs
        self._clock = clock

    async def prune_store(self) -> None:
        """Delete all that is too old now."""
        now, keep = self._clock(), self._keep
        logs, runs, sessions = (
            compute_cutoff(now, days) for days in (keep.events_days, keep.runs_days, keep.sessions_days)
        )
        dead = compute_cutoff(now, keep.dead_letters_days)
        if logs is not None or keep.events_runs is not None:
            await self._prune_in_steps("events", lambda: self._store.retention.prune_events(logs, keep.events_runs))
        if dead is not None:  # before the runs: a dead letter keeps its run
            await self._prune_in_steps("dead letters", lambda: self._store.retention.prune_dead_letters(dead))
        if runs is not None:
            await self._prune_in_steps("runs", lambda: self._store.retention.prune_runs(runs))
        if sessions is not None:
            await self._prune_in_steps("sessions", lambda: self._store.retention.prune_sessions(sessions))
        if (entries := compute_cutoff(now, keep.audit_days)) is not None:
            await self._prune_in_steps("audit", lambda: self._prune_audit(entries))

    async def _prune_audit(self, before: int) -> Pruned:
        return Pruned(await self._store.audit.prune(before))

    async def _prune_in_steps(self, what: str, step: Callable[[], Awaitable[Pruned]]) -> None:
        steps = 0
        while (pruned := await step()).more:
            steps += 1
            if pruned.runs:
                await asyncio.to_thread(_remove_outputs, self._outputs, frozenset(pruned.runs))
            await asyncio.sleep(PRUNING_PAUSE_SECONDS)
        if steps:
            _log.info("retention.pruned", what=what, steps=steps)


def _remove_outputs(directory: Path, runs: frozenset[str]) -> None:
    """Delete the files of some runs. Each file has the id of its run in its name, see `recorder.py`."""
    if directory.is_dir():
        for file in directory.iterdir():
            if file.name.partition("-")[0] in runs:
                file.unlink(missing_ok=True)
