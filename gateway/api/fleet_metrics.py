"""The metrics of a fleet, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from gateway.domain.fleet import WAIT_BOUNDS_SECONDS, FleetView, WaitTimes
from gateway.engine.resources.agents import Agents


def add_fleet_metrics(registry: CollectorRegistry, view: FleetView, agents: Agents) -> None:
    """Add what a node knows of its fleet, and what it has measured itself."""
    _add_nodes(registry, view)
    _add_queues(registry, view, agents)
    ahead = Gauge("moongate_fleet_clock_ahead_seconds", "The database's clock before this one.", registry=registry)
    ahead.set(view.clock_ahead / 1000)
    if view.commit_lag is not None:
        lag = Gauge("moongate_fleet_commit_lag_seconds", "Delay of the last commit that was heard.", registry=registry)
        lag.set(view.commit_lag / 1000)
    registry.register(_WaitCollector(view.waits))


def _add_nodes(registry: CollectorRegistry, view: FleetView) -> None:
    nodes = Gauge("moongate_fleet_nodes", "Nodes of the fleet.", ["role", "state"], registry=registry)
    counts = Counter((one.node.role, "alive" if one.is_alive else "dead") for one in view.nodes)
    for (role, state), count in counts.items():
        nodes.labels(role, state).set(count)
    leases = Gauge("moongate_fleet_lease_seconds", "Seconds until a lease ends.", ["node", "host"], registry=registry)
    slots = Gauge("moongate_fleet_slots", "Slots of the living nodes.", ["node", "host"], registry=registry)
    for one in view.living_nodes:
        leases.labels(one.node.name, one.node.host).set((one.lease - view.at) / 1000)
        slots.labels(one.node.name, one.node.host).set(one.node.slots)
    leaders = Gauge("moongate_fleet_leaders", "Living nodes that lead: 1, or 0 for a moment.", registry=registry)
    leaders.set(view.leader is not None)


def _add_queues(registry: CollectorRegistry, view: FleetView, agents: Agents) -> None:
    queued = Gauge("moongate_fleet_queue_runs", "Runs that wait, by agent.", ["agent", "state"], registry=registry)
    waits = Gauge("moongate_fleet_oldest_wait_seconds", "Oldest dispatched run.", ["agent"], registry=registry)
    for queue in view.queues:
        name = agents.display_name(queue.agent)
        queued.labels(name, "dispatched").set(queue.dispatched)
        queued.labels(name, "waiting").set(queue.waiting)
        waits.labels(name).set(queue.oldest_wait / 1000)


class _WaitCollector(Collector):
    """Shows waits that were counted elsewhere."""

    def __init__(self, waits: WaitTimes) -> None:
        self._waits = waits

    def collect(self) -> Iterator[HistogramMetricFamily]:
        counts = [(str(bound), float(n)) for bound, n in zip(WAIT_BOUNDS_SECONDS, self._waits.counts, strict=True)]
        yield HistogramMetricFamily(
            "moongate_fleet_dispatch_wait_seconds",
            "From the dispatch of a run to its claim by this node.",
            buckets=[*counts, ("+Inf", float(self._waits.total))],
            sum_value=self._waits.seconds,
        )
