"""The fleet that shares the database with this gateway: `GET /api/fleet`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gateway.api import views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.fleet import AgentLimits, AgentQueue, FleetView, NodeView
from gateway.domain.token import Scope

ROUTES = Routes("fleet")


class NodeShown(Struct, frozen=True, kw_only=True):
    """A serving process of the fleet."""

    #: its name in the fleet
    name: str
    #: the host on which it is
    host: str
    #: a gateway answers requests, and may lead; a worker only works on runs
    role: Literal["gateway", "worker"]
    #: version of the gateway
    version: str
    #: ids of the configured agents whose runs it works on
    agents: list[str]
    #: runs that it works on at the same time; 0: it only answers requests
    slots: int
    #: runs that it works on
    running: int
    #: whether it leads: fires schedules, sends deliveries, receives messages, rescues runs and prunes
    leads: bool
    #: whether its lease is valid
    alive: bool
    #: seconds until its lease ends unless it renews it; less than 0 if it has ended
    lease_ends_in: float
    #: when its process began
    started_at: str


class AgentQueueShown(Struct, frozen=True, kw_only=True):
    """How much waits for an agent."""

    #: id of the agent
    agent: str
    #: name of the agent for people
    name: str
    #: runs that are running
    running: int
    #: runs that a worker may begin, and that none has begun
    dispatched: int
    #: runs that wait for their turn, for a free place of the agent or for their time
    waiting: int
    #: seconds since the oldest run was dispatched that no worker has begun; 0 if there is none
    oldest_wait: float


class AgentLimitsShown(Struct, frozen=True, kw_only=True):
    """What the config of one member allows an agent."""

    #: the host of the member
    host: str
    #: how many runs of the agent there may be at the same time
    max_concurrent: int
    #: the agent's limits for a day; null if it has none
    budget: views.BudgetShown | None


class LimitsDifference(Struct, frozen=True, kw_only=True):
    """An agent that the configs of the members do not allow the same."""

    #: id of the agent
    agent: str
    limits: list[AgentLimitsShown]


class FleetShown(Struct, frozen=True, kw_only=True):
    """A fleet at one moment."""

    #: when this was so, by the clock of the database, which is that of the whole fleet
    at: str
    #: name of the node that answers this
    answered_by: str
    #: milliseconds by which the clock of the database is ahead of the clock of the machine that answers this
    clock_ahead_ms: int
    #: milliseconds after which the node that answers this heard of the last commit of another node; null if it heard of
    #: none yet
    commit_lag_ms: int | None
    #: also those whose leases ended in the last day; in the order in which they began
    nodes: list[NodeShown]
    #: those of the agents that have runs
    queues: list[AgentQueueShown]
    #: the agents whose limits differ; the member that lets a run begin goes by its own
    differing_limits: list[LimitsDifference]


class FleetAnswer(Struct, frozen=True, kw_only=True):
    #: null if this gateway is alone with its database
    fleet: FleetShown | None


@ROUTES.add("GET", "/api/fleet", scope=Scope.READ, answer=FleetAnswer)
async def show_fleet(call: Call[Nothing, Nothing]) -> FleetAnswer:
    """Show the gateways and workers that share the database, and what waits for each agent.

    A gateway that is alone is no error: programs that watch gateways ask each of them the same.
    """
    found = await call.engine.view_fleet()
    return FleetAnswer(fleet=None if found is None else _render_fleet(call, found))


def _render_fleet(call: Call[Nothing, Nothing], found: FleetView) -> FleetShown:
    return FleetShown(
        at=times.format_rfc3339(found.at),
        answered_by=found.viewer,
        clock_ahead_ms=found.clock_ahead,
        commit_lag_ms=found.commit_lag,
        nodes=[_render_node(one, found.at) for one in found.nodes],
        queues=[_render_queue(one, call.engine.agents.display_name(one.agent)) for one in found.queues],
        differing_limits=[
            LimitsDifference(agent=agent, limits=[_render_limits(host, limits) for host, limits in told])
            for agent, told in found.differing_limits.items()
        ],
    )


def _render_limits(host: str, limits: AgentLimits) -> AgentLimitsShown:
    budget = None if limits.budget is None else views.render_budget(limits.budget)
    return AgentLimitsShown(host=host, max_concurrent=limits.max_concurrent, budget=budget)


def _render_node(found: NodeView, now: int) -> NodeShown:
    node = found.node
    return NodeShown(
        name=node.name,
        host=node.host,
        role=node.role.value,
        version=node.version,
        agents=list(node.agents),
        slots=node.slots,
        running=found.running,
        leads=found.leads,
        alive=found.is_alive,
        lease_ends_in=(found.lease - now) / 1000,
        started_at=times.format_rfc3339(node.started),
    )


def _render_queue(found: AgentQueue, name: str) -> AgentQueueShown:
    return AgentQueueShown(
        agent=found.agent,
        name=name,
        running=found.running,
        dispatched=found.dispatched,
        waiting=found.waiting,
        oldest_wait=found.oldest_wait / 1000,
    )
