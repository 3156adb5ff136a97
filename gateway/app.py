"""The composition root: connects store, backends, engine and API for one serving process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

import gateway.security.trusted_certificates  # noqa: F401 before aiohttp, which would read them at once
from gateway import backends, channels, log, paths
from gateway.agent_setup import idle_limits
from gateway.api.doctor import Doctor
from gateway.api.routing import Control, ServerContext
from gateway.assembly import channels as assembly_channels
from gateway.assembly import checks, deliveries
from gateway.assembly.leader_services import LeaderResources, make_leader_services
from gateway.assembly.secret_values import gateway_token
from gateway.assembly.tracing import make_tracing
from gateway.backends import BackendResources
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.delivery import WEBHOOK_KIND
from gateway.domain.file import FileLimits
from gateway.domain.retention import Retention
from gateway.domain.times import Clock, wall_clock
from gateway.engine.background.outbox import DeliverySetup
from gateway.engine.engine import Engine
from gateway.engine.execution.owner import Owner
from gateway.engine.execution.rescuer import StoreLedger
from gateway.engine.latch import Latch
from gateway.outbound.file_fetcher import FileFetcher
from gateway.process.child import Children
from gateway.process.scratch import ScratchSpace
from gateway.store import choice

_log = log.get()


def _log_broken_plugins() -> None:
    for name, plugin in [
        *backends.find_registered_backends().broken.items(),
        *channels.find_registered_channels().broken.items(),
    ]:
        _log.warning("plugin.broken", plugin=name, origin=plugin.origin, why=plugin.why)


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
        agents: as `check_settings` returned them.

    Raises:
        ConfigError: the database cannot be used.
    """
    _log_broken_plugins()
    for limit in idle_limits.find_idle_limits(agents):
        _log.warning("agent.limit_idle", why=limit)
    async with AsyncExitStack() as stack:
        days = checks.make_days(config)
        store = choice.open_store(config, days, clock, str(owner))
        stack.push_async_callback(store.close)
        fleet = None
        if config.store.url is not None:
            from gateway.assembly.fleet import make_fleet  # late: only with PostgreSQL

            fleet = make_fleet(config, agents, owner, store, control, clock)
        clock = choice.find_clock(store, clock)
        contents = await stack.enter_async_context(choice.open_contents(config, str(owner), _is_owner_alive))
        children = Children(StoreLedger(store, owner), environ, ScratchSpace(paths.scratch_directory(config.home)))
        tracing = make_tracing(config, environ, owner)
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


def _is_owner_alive(name: str) -> bool:
    try:
        return Owner.parse_owner(name).is_alive
    except ValueError:
        return False
