"""What the engine asks of a store that several processes share, and of what carries runs to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from gateway.domain.fleet import Destination, FleetView, Node
from gateway.domain.queue import RunLimits

#: claims a run for this process and works on it; takes the ids of the run and of its agent, the run's epoch, and when
#: it was dispatched in milliseconds since 1970 UTC, and returns when the job is done
ExecuteJob = Callable[[str, str, int, int], Awaitable[None]]


class FleetStore(Protocol):
    """The nodes of a fleet, and the runs that are on their way to one.

    A run is dispatched when it may begin and its agent has a free place over the whole fleet: the same transaction
    leaves a job for a worker. The worker's first act is the claim.
    """

    async def renew_lease(self, node: Node) -> bool:
        """Say that a node is alive, and what it is. Returns False if it had no lease: its runs may be elsewhere."""
        ...

    async def end_lease(self, name: str) -> None:
        """Say that a node has ended."""
        ...

    async def set_leader(self, name: str) -> None:
        """Record which node leads, for people: the lock decides it."""
        ...

    async def find_dead_owners(self, owners: Collection[str]) -> Sequence[str]:
        """Return those of some owners that have no lease."""
        ...

    async def prune_nodes(self) -> None:
        """Forget the nodes whose leases ended long ago."""
        ...

    async def view(self, *, with_queues: bool = True) -> FleetView:
        """Return the fleet as it is now. Its queues take as long to count as there are runs that wait."""
        ...

    async def find_destinations(self, runs: Collection[str]) -> Mapping[str, Destination]:
        """Return where those of some runs may begin that are dispatched, by their ids."""
        ...

    def dispatch_at_commit(self, limits: RunLimits | None) -> None:
        """From now on, dispatch the runs that a commit lets begin with that same commit; None ends this."""
        ...

    async def dispatch(self, limits: RunLimits) -> None:
        """Dispatch as many runs as the limits allow."""
        ...

    async def claim(self, run: str, epoch: int, owner: str, host: str | None) -> bool:
        """Claim a dispatched run. Returns False if there is no such run any more, it was claimed or cancelled, or the
        owner has no lease.

        Args:
            epoch: the run's epoch when it was dispatched.
            host: binds the run's session to this host, because its agent keeps files there; None does not.
        """
        ...

    async def restore_lost_jobs(self, move_after: int | None) -> int:
        """Let runs be dispatched again whose jobs are lost, and those that wait for a host that is gone or full.

        Args:
            move_after: milliseconds after which a host that has no node is gone for good; None if no host is yet.

        Returns:
            how many there were.
        """
        ...

    async def find_running(self, owner: str) -> Sequence[tuple[str, int]]:
        """Return the ids and epochs of the runs on which a node works, as far as the store knows."""
        ...

    async def requeue_forgotten(self, owner: str, attempts: Collection[tuple[str, int]]) -> int:
        """Put runs back on which a node does not work, although the store says so. Returns how many there were.

        A replica that takes the place of its server may lack the last moments, and with them the ends of runs.

        Args:
            attempts: ids and epochs of the runs.
        """
        ...

    async def release_deliveries(self, sending: Collection[str]) -> int:
        """Make due again what a member was sending that is gone, and what this process took and does not send.

        Args:
            sending: ids of the deliveries that this process sends.

        Returns:
            how many deliveries that were.
        """
        ...

    async def leave_deliveries(self) -> None:
        """Leave to others what this process was sending: it does so no more."""
        ...


class JobQueue(Protocol):
    """Carries dispatched runs to the processes that work on them."""

    async def work(self, queues: Sequence[str], slots: int, execute: ExecuteJob) -> None:
        """Take jobs from some queues, as many at a time as there are slots, until this is cancelled.

        Raises:
            Unavailable: the server is away.
        """
        ...


class LeaderLock(Protocol):
    """What only one process of a fleet holds."""

    async def try_acquire(self) -> bool:
        """Take it, unless another process holds it.

        Raises:
            Unavailable: the server does not answer.
        """
        ...

    async def is_held(self) -> bool:
        """Return whether it is still held: it is lost with the connection to the server."""
        ...

    async def release(self) -> None: ...
