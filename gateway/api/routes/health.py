"""Health checks and metrics: `GET /health`, `/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

import gateway
from gateway.api import views
from gateway.api.audience import Audience
from gateway.api.backup_health import (
    BackupHealth,
    check_backups,
    describe_backups,
)
from gateway.api.default_agent import DefaultAgent, describe_default_agent
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.token import Scope
from gateway.errors import AgentNotFound, GatewayError, Unavailable

ROUTES = Routes("health")

#: seconds that `/health` waits for the numbers of tasks: a probe must have its answer, whatever the readers do
COUNTING_TIMEOUT_SECONDS = 0.8
#: milliseconds after its start in which the first member of a fleet comes to lead
ELECTION_GRACE_MILLISECONDS = 10_000


class BackgroundTasks(Struct, frozen=True, kw_only=True):
    """How many tasks there are in the background; see `limits.background`."""

    #: those that are running
    active: int
    #: those that wait
    queued: int
    #: all of them, with those that have ended
    total: int


class FleetHealth(Struct, frozen=True, kw_only=True):
    """The fleet that the gateway is a member of; `GET /api/fleet` tells more."""

    #: nodes that are alive, with this one
    members: int
    #: whether this one leads
    leads: bool
    #: the host of the node that leads; null while none does
    leader: str | None


class ChannelHealth(Struct, frozen=True, kw_only=True):
    """When a channel last worked."""

    #: as in `GET /api/channels`
    state: str
    #: when its platform last answered that there are messages or none; null if it is not asked, or never answered
    last_poll_at: str | None
    #: when it last took something that was sent to a chat; null if that is not known
    last_send_at: str | None


class Health(Struct, frozen=True, kw_only=True):
    """The state of the gateway. `degraded` also has the status 200: it serves, but has a problem.

    Without a token, callers from elsewhere get `status`, `uptime` and `version` only, and callers from the
    gateway's own machine get everything but `checks`, `channels` and `backup`.
    """

    #: for clients of xitto-kernel: it serves
    ok: bool | UnsetType = UNSET
    #: names that those clients may use: `general`, which is the default agent, and the agents
    packs: list[str] | UnsetType = UNSET
    #: model of the default agent; its backend when it names no model
    model: str | UnsetType = UNSET
    #: null while the database does not answer
    tasks: BackgroundTasks | UnsetType | None = UNSET

    #: whether something is wrong; `checks` says what
    status: Literal["healthy", "degraded"]
    #: whole seconds since its start
    uptime: int
    #: version of the gateway
    version: str
    #: id of this start of the gateway
    instance: str | UnsetType = UNSET
    #: number of this serving process; the first is 1
    generation: int | UnsetType = UNSET
    #: null if no agent is enabled
    agent: DefaultAgent | UnsetType | None = UNSET
    #: results by what was checked: `ok`, or what is wrong
    checks: dict[str, str] | UnsetType = UNSET
    #: the channels and webhook endpoints that are configured, by name; left out if there are none, null while the
    #: database does not answer
    channels: dict[str, ChannelHealth] | UnsetType | None = UNSET
    #: left out if it is alone with its database; null while the database does not answer
    fleet: FleetHealth | UnsetType | None = UNSET
    #: left out if none was ever made, and none is planned
    backup: BackupHealth | UnsetType = UNSET


class Alive(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    #: of `/readyz`, with a token: as in `GET /health`
    channels: dict[str, ChannelHealth] | UnsetType | None = UNSET


@ROUTES.add("GET", "/health", scope=None, answer=Health)
async def health(call: Call[Nothing, Nothing]) -> Health:
    """Show the state of the gateway."""
    store = await call.server.storage_check.check_storage(call.engine)
    agent = await describe_default_agent(call.server)
    fleet = await _describe_fleet(call)
    audience = call.find_audience()
    is_stranger = audience is not Audience.HOLDER
    backups = await call.server.last_backups.read(call.server.config.home, is_kept_enough=is_stranger)
    checks = {
        "store": store,
        **_check_rows(call),
        **_check_certificate(call),
        **call.engine.channels.channel_problems,
        **await _describe_refused_webhooks(call),
        **call.server.control.notes,
        **check_backups(call.server.config, backups),
        **_check_fleet(call, fleet),
    }
    if agent is not None and agent.ok is False:
        checks["agent"] = f"{agent.id}: {agent.introduction}"
    public = Health(
        status="healthy" if set(checks.values()) == {"ok"} else "degraded",
        uptime=max(0, call.server.clock() - call.server.started) // 1000,
        version=gateway.__version__,
    )
    if audience is Audience.WORLD:
        return public
    return msgspec.structs.replace(
        public,
        ok=True,
        packs=list(call.engine.agents.list_pack_names("general")),
        model=_default_model(call),
        tasks=await _count_background_tasks(call),
        instance=call.server.instance,
        generation=call.server.generation,
        agent=agent,
        checks=checks if audience is Audience.HOLDER else UNSET,
        channels=await _describe_channels(call) if audience is Audience.HOLDER else UNSET,
        backup=describe_backups(call.server.config, backups) if audience is Audience.HOLDER else UNSET,
        fleet=fleet,
    )


async def _describe_channels(call: Call[Nothing, Nothing]) -> dict[str, ChannelHealth] | UnsetType | None:
    """Return when each channel last worked; None while the database does not answer."""
    states = call.engine.channels.read_states()
    if not states:
        return UNSET
    try:
        async with asyncio.timeout(COUNTING_TIMEOUT_SECONDS):
            sends = await call.engine.deliveries.read_channel_sends(list(states), 1)
    except (GatewayError, TimeoutError):
        return None
    return {
        name: ChannelHealth(
            state=found.state,
            last_poll_at=views.render_time(found.last_poll),
            last_send_at=views.render_time(sends[name].last_success),
        )
        for name, found in states.items()
    }


async def _describe_fleet(call: Call[Nothing, Nothing]) -> FleetHealth | UnsetType | None:
    try:
        async with asyncio.timeout(COUNTING_TIMEOUT_SECONDS):
            found = await call.engine.view_fleet(with_queues=False)
    except (GatewayError, TimeoutError):
        return None
    if found is None:
        return UNSET
    leader = found.leader
    return FleetHealth(
        members=len(found.living_nodes),
        leads=leader is not None and leader.name == found.viewer,
        leader=None if leader is None else leader.host,
    )


def _check_fleet(call: Call[Nothing, Nothing], fleet: FleetHealth | UnsetType | None) -> dict[str, str]:
    """Return the check `fleet` if no member has led for longer than a change of the leader takes."""
    if not isinstance(fleet, FleetHealth) or fleet.leader is not None:
        return {}
    if call.server.clock() - call.server.started < ELECTION_GRACE_MILLISECONDS:
        return {}
    return {"fleet": "no gateway leads: no schedule fires, no delivery is sent; start one with gateway start."}


def _check_rows(call: Call[Nothing, Nothing]) -> dict[str, str]:
    """Return the check `rows` if something in the database cannot be read."""
    found = call.engine.unreadable.describe_rows()
    return {"rows": found} if found else {}


def _check_certificate(call: Call[Nothing, Nothing]) -> dict[str, str]:
    """Return the check `tls` if something is wrong with the certificate."""
    found = call.server.certificate.problem if call.server.certificate is not None else ""
    return {"tls": found} if found else {}


def _default_model(call: Call[Nothing, Nothing]) -> str:
    try:
        agent = call.engine.agents.default_agent
    except AgentNotFound:
        return ""
    return agent.model or agent.backend


async def _describe_refused_webhooks(call: Call[Nothing, Nothing]) -> dict[str, str]:
    """Return how many webhooks in use the settings refuse. Their names are not for everybody."""
    try:
        refused = await call.engine.deliveries.find_refused_webhooks()
    except GatewayError:
        return {}
    if not refused:
        return {}
    schedules = sum(one.use.schedule is not None for one in refused)
    said = f"{schedules} of schedules, {len(refused) - schedules} receivers of waiting deliveries"
    return {"webhooks": f"the settings refuse webhooks that are in use ({said}); gateway doctor names them."}


async def _count_background_tasks(call: Call[Nothing, Nothing]) -> BackgroundTasks | None:
    try:
        async with asyncio.timeout(COUNTING_TIMEOUT_SECONDS):
            found = await call.engine.run_lists.count_background_runs()
    except (GatewayError, TimeoutError):
        return None
    return BackgroundTasks(active=found.active, queued=found.queued, total=found.total)


@ROUTES.add("GET", "/livez", scope=None, answer=Alive)
async def alive(call: Call[Nothing, Nothing]) -> Alive:
    """Show that the process answers."""
    return Alive()


@ROUTES.add("GET", "/readyz", scope=None, answer=Alive)
async def ready(call: Call[Nothing, Nothing]) -> Alive:
    """Show whether the gateway would accept work now."""
    if call.server.closing.is_set:
        raise Unavailable("the gateway is stopping.")
    found = await call.server.storage_check.check_storage(call.engine)
    if found != "ok":
        raise Unavailable(None if call.find_audience() is Audience.WORLD else found)
    # Without channels the answer is the same for all: then a probe with an old token guesses none.
    tells_more = call.engine.channels.read_states() and call.find_audience() is Audience.HOLDER
    return Alive(channels=await _describe_channels(call) if tells_more else UNSET)


@ROUTES.add("GET", "/metrics", scope=Scope.READ, answer_media_type="text/plain")
async def metrics(call: Call[Nothing, Nothing]) -> web.Response:
    """Show the metrics in the text format of Prometheus."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest  # late: see gateway.api.metrics

    from gateway.api.metrics import collect_metrics

    registry = await collect_metrics(call.server, call.engine)
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
