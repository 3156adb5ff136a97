"""The composition root: connects store, backends, engine and API for one serving process."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

import gateway.security.trusted_certificates  # noqa: F401 before aiohttp, which would read them at once
from gateway import __version__, backends, channels, log, paths, plugins, validation
from gateway.agent_setup import detection, entries, idle_limits
from gateway.api.doctor import Doctor
from gateway.api.routing import Control, ServerContext
from gateway.backends import BackendResources
from gateway.channels import ChannelResources, ChannelType
from gateway.config import Config, Settings, is_loopback
from gateway.domain.address_policy import AddressPolicy, RefusedWebhook
from gateway.domain.agent import Agent
from gateway.domain.budget import CalendarDays
from gateway.domain.delivery import WEBHOOK_KIND
from gateway.domain.file import FileLimits
from gateway.domain.fleet import AgentLimits, Node, Role
from gateway.domain.ports.channel import Channel
from gateway.domain.ports.store import Store
from gateway.domain.retention import Retention
from gateway.domain.times import Clock, wall_clock
from gateway.engine.background.outbox import BodyEncoder, DeliverySetup
from gateway.engine.engine import Engine
from gateway.engine.execution.owner import Owner
from gateway.engine.execution.rescuer import StoreLedger
from gateway.engine.latch import Latch
from gateway.engine.messaging import webhook_endpoint
from gateway.engine.messaging.channels import OpenChannels
from gateway.engine.messaging.webhook_endpoint import WebhookEndpoint
from gateway.engine.resources.deliveries import MAX_WEBHOOK_USES
from gateway.engine.service_loop import LeaderService
from gateway.errors import ConfigError, InvalidRequest
from gateway.outbound.file_fetcher import FileFetcher
from gateway.outbound.webhook import WebhookSender
from gateway.process.child import Children
from gateway.process.scratch import ScratchSpace
from gateway.security import secret_file, signatures
from gateway.settings.digests import digest_settings
from gateway.store import choice
from gateway.validation import suggest_name

if TYPE_CHECKING:
    from gateway.engine.fleet.member import FleetSetup
    from gateway.tracing.opening import Tracing

_log = log.get()


def describe_settings(config: Config) -> tuple[str, dict[str, str]]:
    """Return a name of this gateway among others with the same database, and a digest of each of its settings."""
    groups = {name: getattr(config, name) for name in Settings.__struct_fields__}
    return f"{socket.gethostname()} {config.home}", digest_settings(groups)


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
        _check_channels(config, known_environment(config, environ))
        _make_tracing(config, environ)
        _read_webhook_keys(config)
        _make_address_policy(config)
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


# --- channels and webhook endpoints -----------------------------------------------------------


def known_environment(config: Config, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment, with what `.env` in the state directory adds."""
    return {**config.dotenv, **environ}


def _check_channels(config: Config, environ: Mapping[str, str]) -> None:
    """Check that all channels can be opened. Their agents are not checked: some are stored, not configured."""
    configured = {name: options for name, _, options in _configured_channels(config)}
    for _, kind, options in _configured_channels(config):
        kind.secrets(options, environ)
    for name, entry in config.inbound.items():
        webhook_endpoint.create_endpoint(name, entry, environ, wall_clock)
        if name in configured:
            raise ConfigError(
                f"inbound.{name}: that is the name of a channel that is configured.", remedy="Choose another name."
            )
        channel = (entry.deliver or "").partition(":")[0]
        if channel and channel not in configured:
            raise ConfigError(f"inbound.{name}.deliver: the channel {channel!r} is not configured.")
    for name, receiver in config.alerts.receivers.items():
        receiver.check(f"alerts.receivers.{name}", configured)


def _configured_channels(config: Config) -> Iterator[tuple[str, ChannelType, Any]]:
    """Yield the name, type and options of each enabled channel in the config."""
    kinds = channels.find_channels()
    for name, raw in config.channels.items():
        where = "channels"
        kind = kinds.get(name)
        if kind is None or kind.options is None:
            plugins.refuse_broken_plugin(f"{where}.{name}", name, channels.find_registered_channels().broken)
            known = [name for name, kind in kinds.items() if kind.options is not None]
            raise ConfigError(f'{where}: there is no channel "{name}" to configure{suggest_name(name, known)}')
        options = validation.convert_options(raw, kind.options, f"{where}.{name}", "the channel")
        if getattr(options, "enabled", True):
            yield name, kind, options


def _open_webhook_endpoints(config: Config, environ: Mapping[str, str], clock: Clock) -> Mapping[str, WebhookEndpoint]:
    found = {
        name: webhook_endpoint.create_endpoint(name, entry, environ, clock) for name, entry in config.inbound.items()
    }
    for name, made in found.items():
        if made is None and config.inbound[name].enabled:
            _log.warning("inbound.closed", channel=name, why="it has no secret", remedy=f"Set inbound.{name}.secret.")
    return {name: made for name, made in found.items() if made is not None}


async def _open_channels(
    stack: AsyncExitStack, config: Config, environ: Mapping[str, str], clock: Clock
) -> OpenChannels:
    resources = ChannelResources(environ=known_environment(config, environ), clock=clock)
    kinds = channels.find_channels()
    opened: dict[str, Channel] = {}
    for name, kind, options in _configured_channels(config):
        assert kind.open is not None, "a channel with options can be opened"
        opened[name] = await stack.enter_async_context(kind.open(options, resources))
    return OpenChannels(
        chat_channels=opened,
        webhook_endpoints=_open_webhook_endpoints(config, resources.environ, clock),
        session_only=frozenset(name for name, kind in kinds.items() if kind.open is None),
        unconfigured=frozenset(name for name, kind in kinds.items() if kind.open is not None and name not in opened),
    )


# --- deliveries -------------------------------------------------------------------------------


def _make_webhook_sender(config: Config, clock: Clock) -> WebhookSender:
    """Return the webhook sender.

    Raises:
        ConfigError: a secret is invalid, or the allow list has an entry that is neither host nor network.
    """
    keys, own = _read_webhook_keys(config)
    made = _parse_signing_keys("webhook-secret", webhook_secret(config))
    return WebhookSender(
        _make_address_policy(config), clock, keys=keys or made, own_keys=own, deadline=config.webhooks.timeout
    )


def _read_webhook_keys(config: Config) -> tuple[list[bytes], dict[str, list[bytes]]]:
    """Return the signing keys from the settings, and the keys of receivers that have their own.

    Raises:
        ConfigError: a secret is invalid.
    """
    own = {}
    for receiver, secret in config.webhooks.secrets.items():
        where = f'webhooks.secrets: "{receiver}"'
        if not re.fullmatch(r"https?://[^/@?#\s]+", receiver.lower()):
            raise ConfigError(f"{where} is not the beginning of a URL, such as https://example.org:8443.")
        own[receiver.lower()] = _parse_signing_keys(where, secret)
    return _parse_signing_keys("webhooks.secret", config.webhooks.secret), own


def _parse_signing_keys(where: str, secret: str | list[str] | None) -> list[bytes]:
    try:
        return [signatures.decode_standard_key(one) for one in _as_list(secret)]
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", remedy=error.remedy) from error


def _make_address_policy(config: Config) -> AddressPolicy:
    return AddressPolicy.from_allow_list(config.webhooks.allow_private, local=is_loopback(config.gateway.host))


def _as_list(secret: str | list[str] | None) -> list[str]:
    return [secret] if isinstance(secret, str) else secret or []


def _gather_body_encoders() -> Mapping[str, BodyEncoder]:
    """Return the encoders of delivery bodies by format name, from `BODIES` in `api/routes` and `api/compat`."""
    return plugins.gather_mappings("gateway.api.routes", "BODIES") | plugins.gather_mappings(
        "gateway.api.compat", "BODIES"
    )


def collect_secrets(config: Config, agents: Iterable[Agent], environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return all values that must not be written to a log."""
    found = [config.gateway.auth.token, gateway_token(config), webhook_secret(config), *choice.find_secrets(config)]
    known = known_environment(config, environ)
    for _, kind, options in _configured_channels(config):
        found += kind.secrets(options, known)
    for name, entry in config.inbound.items():
        found += webhook_endpoint.read_secrets(name, entry, known)
    if (tracing := _make_tracing(config, environ)) is not None:
        found += tracing.secrets
    for secret in (config.webhooks.secret, *config.webhooks.secrets.values()):
        found += _as_list(secret)
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
        fleet = _make_fleet(config, agents, owner, store, control, clock) if config.store.url is not None else None
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
        webhook_sender = _make_webhook_sender(config, clock)
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
            channels=await _open_channels(stack, config, environ, clock),
            delivery_setup=DeliverySetup(
                senders={WEBHOOK_KIND: webhook_sender},
                bodies=_gather_body_encoders(),
                address_policy=_make_address_policy(config),
                retry_delays=config.webhooks.schedule,
                **({} if tracing is None else {"on_attempt": tracing.note_attempt}),
            ),
            retention=Retention(**msgspec.structs.asdict(config.retention)),
            days=days,
            fleet=fleet,
            clock=clock,
        )
        tracer = None if tracing is None else await stack.enter_async_context(tracing.open_tracer(engine, store))
        if any(receiver.enabled for receiver in config.alerts.receivers.values()):
            from gateway.engine.alerts.opening import open_alerts  # late: without receivers, alerts need no memory

            open_alerts(
                config,
                engine,
                store,
                ledger=StoreLedger(store, owner),
                environ=environ,
                webhook_sender=webhook_sender,
                clock=clock,
            )
        await stack.enter_async_context(engine)
        certificate = None
        if config.gateway.tls.cert is not None:
            from gateway.api import certificate_watch  # late: few gateways speak TLS

            certificate = await stack.enter_async_context(certificate_watch.open_watch(config))
        if config.backup.every is not None:
            engine.leader_services.append(_make_backups(config, config.backup.every, children, environ, clock))
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
            file_fetcher=FileFetcher(_make_address_policy(config)) if config.files.fetch else None,
            trace_counts=None if tracer is None else tracer.counts,
        )
        yield context if tracing is None else await stack.enter_async_context(tracing.open_metrics(context))


def _make_tracing(config: Config, environ: Mapping[str, str], owner: Owner | None = None) -> Tracing | None:
    """Return what traces runs; None where that is off. Raises `ConfigError` if a package or a setting is missing."""
    if not config.tracing.enabled:
        return None
    from gateway.tracing.opening import Tracing  # late: few gateways trace

    return Tracing.from_settings(config, known_environment(config, environ), owner)


def _make_backups(
    config: Config, every: float, children: Children, environ: Mapping[str, str], clock: Clock
) -> LeaderService:
    """Return the service that makes a backup every so many hours."""
    from gateway.engine.background.backups import BackupPlan, Backups  # late: most gateways make none

    plan = BackupPlan(
        directory=config.backup_directory,
        home=config.home,
        every=round(every * 3_600_000),
        keep=config.backup.keep,
        secrets=config.backup.secrets,
    )
    return Backups(plan, children, environ, clock)


def _make_fleet(
    config: Config, agents: Sequence[Agent], owner: Owner, store: Store, control: Control, clock: Clock
) -> FleetSetup:
    """Return what makes this process a member of the fleet that shares its store.

    Raises:
        ConfigError: the settings name an agent that there is not.
    """
    from gateway.engine.fleet.member import FleetSetup  # late, as all below: only with PostgreSQL
    from gateway.store.postgres.jobs import ProcrastinateQueue, find_queues
    from gateway.store.postgres.leader_lock import PostgresLeaderLock
    from gateway.store.postgres.store import PostgresStore

    assert isinstance(store, PostgresStore)
    url, host = choice.find_url(config), config.fleet_host
    names = [agent.id for agent in agents if agent.enabled]
    for name in config.fleet.agents:
        if name not in names:
            raise ConfigError(f'fleet.agents: there is no enabled agent "{name}"{suggest_name(name, names)}')
    chosen = config.fleet.agents or names
    slots = config.limits.runs if config.fleet.slots is None else config.fleet.slots
    return FleetSetup(
        store=store.fleet,
        jobs=ProcrastinateQueue(url),
        lock=PostgresLeaderLock(url),
        node=Node(
            name=str(owner),
            host=host,
            role=Role(config.fleet.role),
            version=__version__,
            agents=tuple(chosen) if slots else (),
            slots=slots,
            started=clock(),
            limits=tuple(
                AgentLimits(agent=agent.id, max_concurrent=agent.max_concurrent, budget=agent.budget)
                for agent in agents
            ),
        ),
        queues=find_queues(host, chosen),
        move_after=round(config.fleet.move_after * 1000),
        on_lost=lambda: _begin_again(control),
        on_external_commit=store.on_external_commit,
    )


def _begin_again(control: Control) -> None:
    """Let another process take the place of this one, which led the fleet and does not any more."""
    if control.restart is None:
        control.stop()
    else:
        control.restart("another gateway leads the fleet")


def _is_owner_alive(name: str) -> bool:
    try:
        return Owner.parse_owner(name).is_alive
    except ValueError:
        return False


def find_refused_webhooks(config: Config) -> Sequence[RefusedWebhook]:
    """Return the webhooks of schedules and waiting deliveries that these settings refuse.

    Reads the database as it is, also while a gateway uses it. If it cannot be read, nothing is found.
    """
    uses = choice.read_webhook_uses(config, MAX_WEBHOOK_USES)
    return _make_address_policy(config).find_refused(uses)


def gateway_token(config: Config) -> str | None:
    """Return the gateway's own token; generate it if it is missing. None if callers need no token."""
    if config.gateway.auth.mode == "none":
        return None
    return config.gateway.auth.token or secret_file.read_or_create(paths.token_file(config.home))


def webhook_secret(config: Config) -> str | None:
    """Return the generated webhook secret; create it if it is missing. None if the settings give a secret."""
    if config.webhooks.secret:
        return None
    return secret_file.read_or_create(paths.webhook_secret_file(config.home), signatures.new_standard_secret)
