"""This process as a member of a fleet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import msgspec
from msgspec import Struct

from gateway import log
from gateway.domain.agent import Agent
from gateway.domain.fleet import Destination, FleetView, Node, Role
from gateway.domain.ports.fleet_store import FleetStore, JobQueue, LeaderLock
from gateway.domain.ports.store import Store
from gateway.domain.queue import RunLimits
from gateway.domain.times import Clock
from gateway.engine.execution import rescuer
from gateway.engine.execution.claim_loop import ClaimLoop
from gateway.engine.execution.worker import Worker
from gateway.engine.fleet.job_worker import JobWorker
from gateway.engine.fleet.leadership import Leadership
from gateway.engine.fleet.membership import Membership
from gateway.engine.fleet.run_source import NO_TOTAL_LIMIT, Dispatches, FleetRunSource
from gateway.engine.storage_retry import until_stored
from gateway.errors import GatewayError

#: seconds that a leader has to leave its deliveries to the next one
LEAVE_TIMEOUT_SECONDS = 5.0

_log = log.get()


class FleetSetup(Struct, frozen=True, kw_only=True):
    """What makes a process a member of a fleet."""

    store: FleetStore
    jobs: JobQueue
    lock: LeaderLock
    node: Node
    #: names of the queues from which it takes jobs
    queues: Sequence[str]
    #: milliseconds after which a host without a node is gone for good, and its sessions move
    move_after: int
    #: called when this process led and does so no more: it has to end and begin again
    on_lost: Callable[[], None]
    #: has a function called on the event loop after each commit of another process
    on_external_commit: Callable[[Callable[[], None]], None]


class FleetMember:
    """The services of a member: its lease, its jobs, and its leadership if it may lead."""

    def __init__(
        self,
        setup: FleetSetup,
        store: Store,
        worker: Worker,
        limits: Callable[[], RunLimits],
        clock: Clock,
        *,
        find_agent: Callable[[str], Agent | None],
        without_workspace: Collection[str],
    ) -> None:
        """Args:
        limits: returns the limits of all agents now.
        find_agent: returns the agent with an id, or None.
        without_workspace: names of the backends whose agents keep no files on their host.
        """

        def fleet_limits() -> RunLimits:
            return msgspec.structs.replace(limits(), total=NO_TOTAL_LIMIT)

        def binds_session(agent_id: str) -> bool:
            found = find_agent(agent_id)
            return found is None or found.backend not in without_workspace

        self._setup = setup
        self._store = store
        self._membership = Membership(setup.store, setup.node, worker)
        self._job_worker = JobWorker(
            setup.jobs,
            setup.store,
            setup.node,
            worker,
            clock,
            queues=setup.queues,
            binds_session=binds_session,
            may_begin=lambda: not self._membership.is_fenced,
        )
        dispatching = ClaimLoop(store, Dispatches(setup.store), fleet_limits(), clock)
        self.source = FleetRunSource(dispatching, self._job_worker, self._membership.stop_taking_runs)
        self._leadership = Leadership(
            setup.lock,
            setup.store,
            setup.node.name,
            limits=fleet_limits,
            move_after=setup.move_after,
            on_lost=setup.on_lost,
        )

    async def join(self) -> None:
        """Become a member: from now on this process may work on runs."""
        await until_stored(self._end_leases_of_predecessors)
        await until_stored(self._membership.join)
        await until_stored(self._warn_of_namesakes)

    def try_to_lead(self, lead: Callable[[], Awaitable[None]], step_down: Callable[[], Awaitable[None]]) -> None:
        """Try to lead from now on, unless this is a worker. Args: see `Leadership.start`."""
        if self._setup.node.role is Role.GATEWAY:
            self._leadership.start(lead, step_down)

    async def end_election(self) -> None:
        """Begin to lead no more."""
        await self._leadership.end_election()

    async def stop_leading(self) -> None:
        """Let another member lead. The services of the leader have ended."""
        with contextlib.suppress(TimeoutError, GatewayError):  # then they are left with the lease
            async with asyncio.timeout(LEAVE_TIMEOUT_SECONDS):
                await self._setup.store.leave_deliveries()
        await self._leadership.stop()

    async def leave(self) -> None:
        """Be no member any more. This process works on no run."""
        await self._membership.leave()

    async def _end_leases_of_predecessors(self) -> None:
        """End the leases of this instance's processes that crashed: their runs need not wait for that.

        A process of another instance may be in a container of its own, where its number means something else.
        """
        instance, at, _ = self._setup.node.name.partition("@")
        nodes = [view.node.name for view in (await self._setup.store.view()).nodes if view.is_alive]
        for dead in await rescuer.find_dead_owners([name for name in nodes if name.startswith(instance + at)]):
            await rescuer.end_left_processes(self._store, dead)
            await self._setup.store.end_lease(dead)

    async def _warn_of_namesakes(self) -> None:
        """Say in the log which other members are on a host of the same name: the workspaces of one are not the other's.

        It may be this host before it crashed.
        """
        node, (instance, at, _) = self._setup.node, self._setup.node.name.partition("@")
        for other in (await self._setup.store.view(with_queues=False)).living_nodes:
            is_other = not other.node.name.startswith(instance + at)
            if is_other and other.node.host == node.host and other.node.slots and node.slots:
                _log.warning("fleet.host_name_taken", host=node.host, by=other.node.name, remedy="set fleet.host")

    async def find_dead_owners(self, owners: Sequence[str]) -> Sequence[str]:
        """Return those of some owners of runs whose leases have ended."""
        return await self._setup.store.find_dead_owners(owners)

    async def find_destinations(self, runs: Collection[str]) -> Mapping[str, Destination]:
        """Return where those of some runs may begin that are dispatched, by their ids."""
        return await self._setup.store.find_destinations(runs)

    async def view(self, *, with_queues: bool = True) -> FleetView:
        """Return the fleet as it is now, as this process sees it."""
        found = await self._setup.store.view(with_queues=with_queues)
        return msgspec.structs.replace(found, viewer=self._setup.node.name, waits=self._job_worker.waits.times)
