"""Keeps this process in step with another one that works on the same store: during a restart there are two.

Either may accept, end or cancel a run that the other one does not know of: the process that led before, from a
request that it has not answered yet, or the process that leads next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gateway.domain.ports.store import Store
from gateway.engine.execution import rescuer
from gateway.engine.execution.attempt import Interrupt
from gateway.engine.execution.claim_loop import RunSource
from gateway.engine.execution.owner import Owner
from gateway.engine.execution.rescuer import FindDeadOwners
from gateway.engine.execution.worker import Worker
from gateway.engine.hub import Hub
from gateway.engine.resources.agents import Agents
from gateway.engine.service_loop import ServiceLoop, log_errors

#: seconds between checks for owners that are gone, while there is another owner
RESCUE_INTERVAL_SECONDS = 2.0
#: seconds between checks for commits of another process: while one is known to write, and otherwise
BUSY_POLL_SECONDS, IDLE_POLL_SECONDS = 0.05, 0.5
#: seconds between two readings of what seldom changes, in a fleet: after a commit, and without one
RELOAD_INTERVAL_SECONDS, MAX_RELOAD_SLEEP_SECONDS = 1.0, 60.0
#: seconds for which commits that are heard of are gathered: many come at once
GATHERING_SECONDS = 0.01


class PeerWatch:
    """The service that sees what another process writes, and rescues its runs when it is gone."""

    def __init__(
        self,
        store: Store,
        owner: Owner,
        hub: Hub,
        agents: Agents,
        source: RunSource,
        worker: Worker,
        wake_services: Sequence[Callable[[], None]],
        *,
        find_dead: FindDeadOwners = rescuer.find_dead_owners,
        reload_tokens: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Args:
        find_dead: returns which owners of runs have died.
        reload_tokens: reads the tokens from the store; in a fleet, where there may be others at any time.
        wake_services: called when another process has committed, in addition to the source of runs.
        """
        self._store = store
        self._owner = owner
        self._hub = hub
        self._agents = agents
        self._source = source
        self._worker = worker
        self._wake_services = wake_services
        self._find_dead = find_dead
        self._reload_tokens = reload_tokens
        self._gathering: asyncio.TimerHandle | None = None
        self._shared = False
        self._seen_commits: int | None = None
        log_error = log_errors("engine.cannot_look")
        self._commits = ServiceLoop("external-commits", self._check_commits, log_error, retry_seconds=IDLE_POLL_SECONDS)
        self._owners = ServiceLoop("other-owners", self._check_owners, log_error, retry_seconds=RESCUE_INTERVAL_SECONDS)
        self._agent_changes = ServiceLoop(
            "agent-changes", self._refresh_agents, log_error, retry_seconds=RESCUE_INTERVAL_SECONDS
        )
        self._reloads = ServiceLoop("reloads", self._reload, log_error, retry_seconds=RELOAD_INTERVAL_SECONDS)

    def start(self) -> None:
        """Start looking for commits of other processes."""
        self._commits.start()
        if self._reload_tokens is not None:
            self._reloads.start(delay=RELOAD_INTERVAL_SECONDS)

    def look_now(self) -> None:
        """Look for commits of other processes in a moment: there is one, and others may follow at once."""
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHERING_SECONDS, self._wake_commits)

    def _wake_commits(self) -> None:
        self._gathering = None
        self._commits.wake()

    def start_rescuing(self) -> None:
        """Start rescuing the runs of other processes that are gone."""
        self._owners.start()
        self._agent_changes.start(delay=RESCUE_INTERVAL_SECONDS)

    async def stop_rescuing(self) -> None:
        """Stop rescuing, and expect another process to write: it leads from now on."""
        await self._owners.stop()
        self._set_shared(True)

    async def stop(self) -> None:
        """End all loops. Stopping twice is fine."""
        for loop in (self._owners, self._agent_changes, self._reloads, self._commits):
            await loop.stop()

    def take_loop_lag(self) -> float:
        """Return the most seconds that the event loop was late since the last call.

        This service sleeps all the time, and often: so its sleeps show that without a timer of their own.
        """
        return self._commits.take_longest_delay()

    async def _check_owners(self) -> float | None:
        """Leave another process time to write while it has runs in this store, and rescue its runs if it is gone."""
        if self._reload_tokens is None and not await rescuer.has_other_owners(self._store, self._owner):
            self._set_shared(False)
            return None
        self._set_shared(True)
        if await rescuer.rescue_runs(self._store, self._owner, self._find_dead):
            await self._agents.fail_orphaned_runs(configured=False)
            self._source.wake()
        return RESCUE_INTERVAL_SECONDS

    def _set_shared(self, shared: bool) -> None:
        """Record whether another process is known to write."""
        if shared != self._shared:
            self._shared = shared
            self._store.set_concurrent_writer(shared)

    async def _reload(self) -> float:
        """Read agents and tokens again, but not after each of very many commits."""
        assert self._reload_tokens is not None
        await self._agents.reload_stored_agents()
        await self._reload_tokens()
        await asyncio.sleep(RELOAD_INTERVAL_SECONDS)
        return MAX_RELOAD_SLEEP_SECONDS

    async def _refresh_agents(self) -> float:
        """Read the agents again: another process may have changed them in its last moments."""
        await self._agents.reload_stored_agents()
        return RESCUE_INTERVAL_SECONDS

    async def _check_commits(self) -> float:
        commits = await self._store.count_external_commits()
        if commits != self._seen_commits:
            await self._announce_commits()
            self._seen_commits = commits
        return BUSY_POLL_SECONDS if self._shared else IDLE_POLL_SECONDS

    async def _announce_commits(self) -> None:
        """Tell all that keeps a copy of the store, or waits for a commit, what another process has committed."""
        await self._hub.announce_external_commits()
        if self._reload_tokens is None:
            await self._agents.reload_stored_agents()
        else:
            self._reloads.wake()
        self._source.wake()
        for wake in self._wake_services:
            wake()
        for run in await self._store.runs.find_cancel_requested(self._worker.current_run_ids):
            self._worker.interrupt_run(run, Interrupt.CANCEL)
