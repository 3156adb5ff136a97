"""The gateway's metrics: the one source of `GET /metrics` and of what an OpenTelemetry collector gets.

Imported late: the library imports an HTTP server of its own, and most gateways are never asked.
"""

from __future__ import annotations

from collections import Counter as Counted

from prometheus_client import CollectorRegistry, Counter, Gauge

import gateway
from gateway.api.backup_health import add_backup_metrics
from gateway.api.fleet_metrics import add_fleet_metrics
from gateway.api.routing import ServerContext
from gateway.engine.engine import Engine
from gateway.engine.resources.alerts import AlertBook


async def collect_metrics(server: ServerContext, engine: Engine) -> CollectorRegistry:
    """Return a registry with all metrics as they are now."""
    counts = await engine.run_lists.count_totals(since=server.started)
    registry = CollectorRegistry()
    runs = Gauge("moongate_runs", "Runs that are queued or running.", ["status"], registry=registry)
    runs.labels("queued").set(counts.queued)
    runs.labels("running").set(counts.running)
    ended = Counter("moongate_runs_ended", "Runs that ended since the start.", ["status"], registry=registry)
    for status, count in counts.ended.items():
        ended.labels(status).inc(count)
    Gauge("moongate_sessions", "Sessions.", registry=registry).set(counts.sessions)
    undelivered = await engine.deliveries.count_undelivered()
    deliveries = Gauge("moongate_deliveries", "Deliveries that are pending or dead.", ["status"], registry=registry)
    deliveries.labels("pending").set(undelivered.pending)
    deliveries.labels("dead").set(undelivered.dead)
    working = Gauge("moongate_agent_runs", "Running runs by agent.", ["agent"], registry=registry)
    for view in await engine.agents.list_views():
        working.labels(view.slug).set(view.load.running)
    taken = await engine.files.count_bytes()
    Gauge("moongate_files_bytes", "Bytes of all stored files; equal files count once.", registry=registry).set(taken)
    add_backup_metrics(registry, await server.last_backups.read(server.config.home))
    await _add_alerts(registry, engine.alert_book)
    if (fleet := await engine.view_fleet()) is not None:
        add_fleet_metrics(registry, fleet, engine.agents)
    _add_traces(registry, server)
    build = Gauge("moongate_build_info", "1, with the version of the gateway.", ["version"], registry=registry)
    build.labels(gateway.__version__).set(1)
    up = (server.clock() - server.started) / 1000
    Gauge("moongate_uptime_seconds", "Seconds since the start.", registry=registry).set(up)
    return registry


async def _add_alerts(registry: CollectorRegistry, book: AlertBook) -> None:
    alerts = Gauge("moongate_alert_open", "Alerts that are open.", ["kind"], registry=registry)
    watched = () if book.tester is None else book.tester.watched_kinds
    open_alerts = Counted(alert.kind for alert in await book.list_open())
    for kind in {*map(str, watched), *open_alerts}:
        alerts.labels(kind).set(open_alerts[kind])


def _add_traces(registry: CollectorRegistry, server: ServerContext) -> None:
    """Add what became of traces, if there are any."""
    if server.trace_counts is None:
        return
    traces = Counter(
        "moongate_traces", "Traces of runs and deliveries, by their export.", ["result"], registry=registry
    )
    traces.labels("sent").inc(server.trace_counts.sent)
    traces.labels("failed").inc(server.trace_counts.failed)
    traces.labels("dropped").inc(server.trace_counts.dropped)
