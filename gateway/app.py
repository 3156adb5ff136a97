"""The composition root: connects store, backends, engine and API for one serving process."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

import gateway.security.trusted_certificates  # noqa: F401 before aiohttp, which would read them at once
from gateway import backends, channels, log, paths
from gateway.agent_setup import detection, entries, idle_limits
from gateway.api.doctor import Doctor
from gateway.api.routing import Control, ServerContext
from gateway.assembly import channels as assembly_channels
from gateway.assembly import deliveries
from gateway.assembly.leader_services import LeaderResources, make_leader_services
from gateway.backends import BackendResources
from gateway.config import Config, Settings
from gateway.domain.agent import Agent
from gateway.domain.budget import CalendarDays
from gateway.domain.delivery import WEBHOOK_KIND
from gateway.domain.file import FileLimits
from gateway.domain.fleet import Role
from gateway.domain.retention import Retention
from gateway.domain.times import Clock, wall_clock
from gateway.engine.background.outbox import DeliverySetup
from gateway.engine.engine import Engine
from gateway.engine.execution.owner import Owner
from gateway.engine.execution.rescuer import StoreLedger
from gateway.engine.latch import Latch
from gateway.engine.messaging import webhook_endpoint
from gateway.errors import ConfigError, InvalidRequest
from gateway.outbound.file_fetcher import FileFetcher
from gateway.process.child import Children
from gateway.process.scratch import ScratchSpace
from gateway.security import secret_file
from gateway.settings.digests import SettingDigests, digest_settings
from gateway.store import choice
from gateway.validation import suggest_name

if TYPE_CHECKING:
    from gateway.tracing.opening import Tracing

_log = log.get()


def describe_settings(config: Config) -> tuple[str, SettingDigests]:
    """Return a name of this gateway among others with the same database, and digests of its settings.

    Raises:
        ConfigError: the key for them can neither be read nor created.
    """
    groups = {name: getattr(config, name) for name in Settings.__struct_fields__}
    key = secret_file.read_or_create(paths.settings_key_file(config.home))
    return f"{socket.gethostname()} {config.home}", digest_settings(groups, key)


def check_agents(config: Config, environ: Mapping[str, str], *, remember: bool = False) -> list[Agent]:
    """Return the agents in force; their backends have checked their options.

    Without a configured agent, it is the one that was found on this machine.

    Args:
        remember: whether the next starts use an agent that is found now; serving processes say so.

    Raises:
        ConfigError: a setting is wrong; the message names it.
    """
    with config.name_origins():
        agents = _read_agents(config, environ, remember=remember)
        assembly_channels.check_channels(config, config.known_environment(environ))
        _make_tracing(config, environ)
        deliveries.read_webhook_keys(config)
        deliveries.make_address_policy(config)
        _make_days(config)
        _check_certificate(config)
        if config.store.url is None and Role(config.fleet.role) is Role.WORKER:
            raise ConfigError(  # it names no setting in front: `gateway worker` sets the role
                "a worker needs store.url: the PostgreSQL URL of its fleet.",
                remedy="Set store.url, or MOONGATE_STORE_URL, to that of its gateways.",
            )
        return agents


def _read_agents(config: Config, environ: Mapping[str, str], *, remember: bool) -> list[Agent]:
    listed = [
        entries.parse_entry(f"agents.list[{number}]", entry) for number, entry in enumerate(config.agents.entries)
    ]
    agents = [
        _fill_defaults(config, agent)
        for agent in listed or [detection.choose_agent(config, environ, remember=remember)]
    ]
    ids = [agent.id for agent in agents]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f'agents.list: two agents have the id "{twice}".')
    default = config.agents.default
    if default is not None and default not in ids:
        raise ConfigError(f'agents.default: there is no agent "{default}"{suggest_name(default, ids)}')
    if default is not None and not next(agent for agent in agents if agent.id == default).enabled:
        raise ConfigError(f'agents.default: the agent "{default}" is disabled.')
    return agents


def _make_days(config: Config) -> CalendarDays:
    try:
        return CalendarDays(config.cron.timezone)
    except InvalidRequest as error:
        raise ConfigError(f"cron.{error}") from error


def _check_certificate(config: Config) -> None:
    if config.certificate_file is not None and config.key_file is not None:
        from gateway.security import key_pair  # late: few gateways speak TLS

        key_pair.load_key_pair(config.certificate_file, config.key_file)


def _fill_defaults(config: Config, agent: Agent) -> Agent:
    """Return the agent with its missing values taken from the settings."""
    adapt = backends.find_backends()[agent.backend].adapt
    return msgspec.structs.replace(
        agent,
        model=agent.model or config.agents.model,
        options=adapt(agent.options, config) if adapt else agent.options,
    )


def _log_broken_plugins() -> None:
    for name, plugin in [
        *backends.find_registered_backends().broken.items(),
        *channels.find_registered_channels().broken.items(),
    ]:
        _log.warning("plugin.broken", plugin=name, origin=plugin.origin, why=plugin.why)


def collect_secrets(config: Config, agents: Iterable[Agent], environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return all values that must not be written to a log."""
    found = [
        config.gateway.auth.token,
        gateway_token(config),
        deliveries.webhook_secret(config),
        *choice.find_secrets(config),
    ]
    known = config.known_environment(environ)
    for _, kind, options in assembly_channels.find_configured_channels(config):
        found += kind.secrets(options, known)
    for name, entry in config.inbound.items():
        found += webhook_endpoint.read_secrets(name, entry, known)
    if (tracing := _make_tracing(config, environ)) is not None:
        found += tracing.secrets
    for secret in (config.webhooks.secret, *config.webhooks.secrets.values()):
        found += deliveries.list_secrets(secret)
    for receiver in config.alerts.receivers.values():
        found += receiver.secrets
    for agent in agents:
        found += [getattr(agent.options, name) for name in backends.find_backends()[agent.backend].secrets]
    return [secret for secret in found if secret]


@asynccontextmanager
async def open_gateway(
    config: Config,
    agents: Sequence[Agent],
    owner: Owner,
    *,
    control: Control,
    generation: int = 1,
    environ: Mapping[str, str] = os.environ,
    clock: Clock = wall_clock,
) -> AsyncIterator[ServerContext]:
    """Open everything that serves requests; at the end, close it in reverse order.

    Args:
        agents: as `check_agents` returned them.

    Raises:
        ConfigError: the database cannot be used.
    """
    _log_broken_plugins()
    for limit in idle_limits.find_idle_limits(agents):
        _log.warning("agent.limit_idle", why=limit)
    async with AsyncExitStack() as stack:
        days = _make_days(config)
        store = choice.open_store(config, days, clock, str(owner))
        stack.push_async_callback(store.close)
        fleet = None
        if config.store.url is not None:
            from gateway.assembly.fleet import make_fleet  # late: only with PostgreSQL

            fleet = make_fleet(config, agents, owner, store, control, clock)
        clock = choice.find_clock(store, clock)
        contents = await stack.enter_async_context(choice.open_contents(config, str(owner), _is_owner_alive))
        children = Children(StoreLedger(store, owner), environ, ScratchSpace(paths.scratch_directory(config.home)))
        tracing = _make_tracing(config, environ, owner)
        opened_backends = {}
        for name in sorted({agent.backend for agent in agents}):
            resources = BackendResources(children=children, environ=environ, directory=config.home / "backends" / name)
            if tracing is not None:
                resources = msgspec.structs.replace(resources, find_traceparent=tracing.find_traceparent)
            opened_backends[name] = await stack.enter_async_context(backends.find_backends()[name].open(resources))
        webhook_sender = deliveries.make_webhook_sender(config, clock)
        engine = Engine(
            store,
            agents,
            opened_backends,
            contents,
            owner=owner,
            directory=config.home,
            without_workspace=[name for name in opened_backends if not backends.find_backends()[name].uses_workspace],
            describe=backends.describe_agent,
            default=config.agents.default,
            token=gateway_token(config),
            max_runs=config.limits.runs,
            max_background=config.limits.background,
            max_depth=config.limits.depth,
            output_limit=config.limits.output,
            file_limits=FileLimits(
                size=config.files.size,
                per_message=config.files.per_message,
                message_size=config.files.message_size,
                quota=config.files.quota,
            ),
            channels=await assembly_channels.open_channels(stack, config, environ, clock),
            delivery_setup=DeliverySetup(
                senders={WEBHOOK_KIND: webhook_sender},
                bodies=deliveries.gather_body_encoders(),
                address_policy=deliveries.make_address_policy(config),
                retry_delays=config.webhooks.schedule,
                **({} if tracing is None else {"on_attempt": tracing.note_attempt}),
            ),
            retention=Retention(**msgspec.structs.asdict(config.retention)),
            days=days,
            fleet=fleet,
            clock=clock,
        )
        tracer = None if tracing is None else await stack.enter_async_context(tracing.open_tracer(engine, store))
        engine.leader_services += make_leader_services(
            config,
            LeaderResources(
                engine=engine,
                store=store,
                children=children,
                ledger=StoreLedger(store, owner),
                environ=environ,
                webhook_sender=webhook_sender,
                clock=clock,
            ),
        )
        await stack.enter_async_context(engine)
        certificate = None
        if config.gateway.tls.cert is not None:
            from gateway.api import certificate_watch  # late: few gateways speak TLS

            certificate = await stack.enter_async_context(certificate_watch.open_watch(config))
        doctor = await stack.enter_async_context(Doctor(children, environ, config.home, clock))
        context = ServerContext(
            engine=engine,
            config=config,
            instance=owner.instance,
            generation=generation,
            started=clock(),
            clock=clock,
            closing=Latch(),
            control=control,
            doctor=doctor,
            certificate=certificate,
            file_fetcher=FileFetcher(deliveries.make_address_policy(config)) if config.files.fetch else None,
            trace_counts=None if tracer is None else tracer.counts,
        )
        yield context if tracing is None else await stack.enter_async_context(tracing.open_metrics(context))


def _make_tracing(config: Config, environ: Mapping[str, str], owner: Owner | None = None) -> Tracing | None:
    """Return what traces runs; None where that is off. Raises `ConfigError` if a package or a setting is missing."""
    if not config.tracing.enabled:
        return None
    from gateway.tracing.opening import Tracing  # late: few gateways trace

    return Tracing.from_settings(config, config.known_environment(environ), owner)


def _is_owner_alive(name: str) -> bool:
    try:
        return Owner.parse_owner(name).is_alive
    except ValueError:
        return False


def gateway_token(config: Config) -> str | None:
    """Return the gateway's own token; generate it if it is missing. None if callers need no token."""
    if config.gateway.auth.mode == "none":
        return None
    return config.gateway.auth.token or secret_file.read_or_create(paths.token_file(config.home))
