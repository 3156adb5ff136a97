"""Is it well? `GET /health`, `/livez`, `/readyz`, and `/metrics` for those who keep watch."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from msgspec import Struct

import gateway
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.token import Scope
from gateway.errors import AgentNotFound, GatewayError, Unavailable

ROUTES = Routes("health")


class BackgroundTasks(Struct, frozen=True, kw_only=True):
    """How many tasks there are in the background; see `limits.background`."""

    active: int
    queued: int
    total: int


class Health(Struct, frozen=True, kw_only=True):
    """How the gateway is. `degraded` still answers 200: it serves, but somebody should look."""

    #: as clients of xitto-kernel ask: it serves
    ok: bool = True
    #: what those clients may name: `general`, which is the default agent, and the agents
    packs: list[str]
    #: of the default agent; its backend where it names none
    model: str
    #: null while the store does not answer
    tasks: BackgroundTasks | None

    status: Literal["healthy", "degraded"]
    #: whole seconds since its start
    uptime: int
    version: str
    #: id of this start of the gateway
    instance: str
    #: number of this serving process, from 1
    generation: int
    #: what is wrong, by what was looked at; `ok` where nothing is
    checks: dict[str, str]


class Alive(Struct, frozen=True):
    status: str = "ok"


@ROUTES.add("GET", "/health", scope=None, answer=Health)
async def health(call: Call[Nothing, Nothing]) -> Health:
    """Tell how the gateway is."""
    store = await call.server.pulse.take(call.engine)
    checks = {"store": store, **call.engine.channels.troubles, **call.server.control.notes}
    return Health(
        packs=list(call.engine.agents.packs("general")),
        model=_model(call),
        tasks=await _background(call),
        status="healthy" if set(checks.values()) == {"ok"} else "degraded",
        uptime=max(0, call.server.clock() - call.server.started) // 1000,
        version=gateway.__version__,
        instance=call.server.instance,
        generation=call.server.generation,
        checks=checks,
    )


def _model(call: Call[Nothing, Nothing]) -> str:
    try:
        agent = call.engine.agents.default
    except AgentNotFound:
        return ""
    return agent.model or agent.backend


async def _background(call: Call[Nothing, Nothing]) -> BackgroundTasks | None:
    try:
        found = await call.engine.backlog()
    except GatewayError:
        return None
    return BackgroundTasks(active=found.active, queued=found.queued, total=found.total)


@ROUTES.add("GET", "/livez", scope=None, answer=Alive)
async def alive(call: Call[Nothing, Nothing]) -> Alive:
    """Tell that the process answers."""
    return Alive()


@ROUTES.add("GET", "/readyz", scope=None, answer=Alive)
async def ready(call: Call[Nothing, Nothing]) -> Alive:
    """Tell whether work would be accepted now."""
    if call.server.closing.is_set:
        raise Unavailable("the gateway is stopping.")
    found = await call.server.pulse.take(call.engine)
    if found != "ok":
        raise Unavailable(found)
    return Alive()


@ROUTES.add("GET", "/metrics", scope=Scope.READ, answer_media_type="text/plain")
async def metrics(call: Call[Nothing, Nothing]) -> web.Response:
    """Give the numbers, in the text format of Prometheus."""
    # Late: it brings an HTTP server of its own, and most gateways are never asked.
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

    counts = await call.engine.counts(since=call.server.started)
    registry = CollectorRegistry()
    runs = Gauge("moongate_runs", "Runs that wait or are at work.", ["status"], registry=registry)
    runs.labels("queued").set(counts.queued)
    runs.labels("running").set(counts.running)
    ended = Counter("moongate_runs_ended", "Runs that ended since the start.", ["status"], registry=registry)
    for status, count in counts.ended.items():
        ended.labels(status).inc(count)
    Gauge("moongate_sessions", "Sessions.", registry=registry).set(counts.sessions)
    undelivered = await call.engine.deliveries.counts()
    deliveries = Gauge("moongate_deliveries", "Deliveries that wait or are dead.", ["status"], registry=registry)
    deliveries.labels("pending").set(undelivered.pending)
    deliveries.labels("dead").set(undelivered.dead)
    working = Gauge("moongate_agent_runs", "Runs at work, by agent.", ["agent"], registry=registry)
    for view in await call.engine.agents.views():
        working.labels(view.slug).set(view.load.running)
    up = (call.server.clock() - call.server.started) / 1000
    Gauge("moongate_uptime_seconds", "Seconds since the start.", registry=registry).set(up)
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
