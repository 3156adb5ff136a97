"""A fleet: the serving processes that share one store, on one host or on many."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from gateway.domain.budget import Budget

#: milliseconds for which a node counts as alive after it was heard of, by the clock of the store
LEASE_MILLISECONDS = 45_000
#: seconds between two renewals of a lease
LEASE_RENEWAL_SECONDS = 15.0
#: seconds by which waits are counted: how many took at most so long
WAIT_BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: seconds after its last renewal when a node ends its agents by itself: at the end of the lease, their runs begin again
#: elsewhere
SELF_FENCE_SECONDS = 35.0


class Role(StrEnum):
    """What a node does: a gateway answers requests, and runs agents unless told otherwise; a worker only runs them."""

    GATEWAY = "gateway"
    WORKER = "worker"


class AgentLimits(Struct, frozen=True, kw_only=True):
    """What one member's config allows an agent. It should be the same everywhere: it counts over the whole fleet."""

    agent: str
    #: how many of its runs there may be at the same time
    max_concurrent: int
    budget: Budget | None = None


class Node(Struct, frozen=True, kw_only=True):
    """A serving process of a fleet."""

    #: instance and process, as the owner of a run
    name: str
    #: the host on which it is; sessions whose agents keep files are bound to one
    host: str
    role: Role
    version: str
    #: ids of the configured agents that it runs
    agents: tuple[str, ...] = ()
    #: runs that it works on at the same time; 0 if it runs no agents
    slots: int = 0
    #: milliseconds since 1970 UTC
    started: int = 0
    #: of the agents of its config; what it lets begin goes by them
    limits: tuple[AgentLimits, ...] = ()


class NodeView(Struct, frozen=True, kw_only=True):
    """A node as the store knows it."""

    node: Node
    #: until when it counts as alive, in milliseconds since 1970 UTC
    lease: int
    is_alive: bool
    #: whether it leads the fleet: fires schedules, sends deliveries, rescues runs, prunes
    leads: bool
    #: runs that it works on
    running: int


class AgentQueue(Struct, frozen=True, kw_only=True):
    """How much waits for one agent of a fleet."""

    agent: str
    #: runs that are running
    running: int
    #: runs that a worker may begin, and that none has begun
    dispatched: int
    #: runs that wait for their turn, for a free place or for their time
    waiting: int
    #: milliseconds since the oldest run was dispatched that no worker has begun; 0 if there is none
    oldest_wait: int


class WaitTimes(Struct, frozen=True, kw_only=True):
    """How long the runs that a node has begun were dispatched before."""

    #: how many of them waited at most as long as each of `WAIT_BOUNDS_SECONDS`
    counts: tuple[int, ...] = (0,) * len(WAIT_BOUNDS_SECONDS)
    #: how many there are
    total: int = 0
    #: the sum of their waits
    seconds: float = 0.0


class Destination(Struct, frozen=True, kw_only=True):
    """Where a dispatched run may begin."""

    #: the host to which its session is bound; None if any host will do
    host: str | None
    #: living nodes that may begin it
    takers: int


class FleetView(Struct, frozen=True, kw_only=True):
    """A fleet at one moment."""

    #: milliseconds since 1970 UTC, by the clock of the store
    at: int
    nodes: tuple[NodeView, ...]
    queues: tuple[AgentQueue, ...]
    #: milliseconds by which that clock is ahead of the clock of the node that looks
    clock_ahead: int = 0
    #: milliseconds after which the node that looks heard of the last commit of another node; None if it heard of none
    commit_lag: int | None = None
    #: name of the node that looks
    viewer: str = ""
    #: of the runs that the node that looks has begun
    waits: WaitTimes = WaitTimes()

    @property
    def living_nodes(self) -> tuple[NodeView, ...]:
        """The nodes that are members now."""
        return tuple(one for one in self.nodes if one.is_alive)

    @property
    def differing_limits(self) -> dict[str, list[tuple[str, AgentLimits]]]:
        """The hosts of the living nodes and their limits, of each agent for which these are not the same."""
        found: dict[str, list[tuple[str, AgentLimits]]] = {}
        for view in self.living_nodes:
            for limits in view.node.limits:
                found.setdefault(limits.agent, []).append((view.node.host, limits))
        return {agent: told for agent, told in sorted(found.items()) if len({repr(one) for _, one in told}) > 1}

    @property
    def leader(self) -> Node | None:
        """The node that leads; None while none does."""
        return next((one.node for one in self.nodes if one.leads), None)
