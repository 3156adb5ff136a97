"""A fleet: the serving processes that share one store, on one host or on many."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

#: milliseconds for which a node counts as alive after it was heard of, by the clock of the store
LEASE_MILLISECONDS = 45_000
#: seconds between two renewals of a lease
LEASE_RENEWAL_SECONDS = 15.0
#: seconds after its last renewal when a node ends its agents by itself: at the end of the lease, their runs begin again
#: elsewhere
SELF_FENCE_SECONDS = 35.0


class Role(StrEnum):
    """What a node does: a gateway answers requests, and runs agents unless told otherwise; a worker only runs them."""

    GATEWAY = "gateway"
    WORKER = "worker"


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
    #: milliseconds for which the oldest dispatched run has waited
    oldest_wait: int


class FleetView(Struct, frozen=True, kw_only=True):
    """A fleet at one moment."""

    #: milliseconds since 1970 UTC, by the clock of the store
    at: int
    nodes: tuple[NodeView, ...]
    queues: tuple[AgentQueue, ...]
