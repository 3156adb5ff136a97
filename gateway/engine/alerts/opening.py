"""Makes the alert service from the settings."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import partial

import msgspec

from gateway.config import Config
from gateway.domain.alert import AlertKind
from gateway.domain.ports.channel import DeliverySender
from gateway.domain.ports.store import Store
from gateway.domain.run import Source
from gateway.domain.times import Clock
from gateway.engine.alerts import conditions
from gateway.engine.alerts.condition import AlertLimits, AlertSources, Condition
from gateway.engine.alerts.planning import AlertReceiver, TellingRules
from gateway.engine.alerts.senders import (
    AlertSender,
    ChatAlertSender,
    CommandAlertSender,
    LenientLedger,
    WebhookAlertSender,
)
from gateway.engine.alerts.service import AlertService
from gateway.engine.engine import Engine
from gateway.engine.resources.agents import Agents
from gateway.plugins import discover_modules
from gateway.process.child import Children, ProcessLedger
from gateway.settings.alerts import AlertReceiverSettings, Alerts

#: characters of the mark of an address: enough to see another address, and too few to try secrets in it on
ADDRESS_MARK_CHARACTERS = 4


def open_alerts(
    config: Config,
    engine: Engine,
    store: Store,
    *,
    ledger: ProcessLedger,
    environ: Mapping[str, str],
    webhook_sender: DeliverySender,
    clock: Clock,
) -> AlertService:
    """Return the service for the engine to run while it leads. It looks only at what a receiver wants.

    Args:
        ledger: records the processes of commands, whose environment comes from `environ`.
    """
    settings = config.alerts
    children = Children(LenientLedger(ledger), environ)
    enabled = {name: given for name, given in settings.receivers.items() if given.enabled}
    receivers = [_make_receiver(name, given, settings) for name, given in enabled.items()]
    wanted = frozenset(kind for receiver in receivers for kind in receiver.kinds)
    sources = AlertSources(
        store=store,
        agents=engine.agents,
        usage=engine.usage,
        channels=engine.channels,
        find_session=engine.schedules.find_session,
        home=config.home,
        data_directory=config.data_directory,
        limits=AlertLimits(
            schedule_failures=settings.schedule_failures,
            channel_minutes=settings.channel_minutes,
            disk_free_mb=settings.disk_free_mb,
            backup_hours=_find_backup_hours(config),
            crashes=settings.crashes,
        ),
        clock=clock,
    )
    host = platform.node() or "localhost"

    def make_sender(given: AlertReceiverSettings) -> AlertSender:
        if given.chat is not None:
            channel, _, chat = given.chat.partition(":")
            return ChatAlertSender(engine.channels, channel, chat, host, clock)
        if given.webhook is not None:
            return WebhookAlertSender(webhook_sender, given.webhook, host)
        assert given.command is not None, "the settings were checked"
        return CommandAlertSender(children, given.command, config.home, host)

    service = AlertService(
        store,
        create_conditions(sources, wanted),
        receivers,
        {name: make_sender(given) for name, given in enabled.items()},
        TellingRules(
            group=round(settings.group_seconds * 1000),
            repeat=None if settings.repeat_hours is None else round(settings.repeat_hours * 3_600_000),
        ),
        clock,
        config.webhooks.schedule,
        partial(find_agent_names, engine.agents),
        lambda name: engine.agents.find_by_name(name) is not None,
    )
    engine.alert_book.tester = service
    return service


def _find_backup_hours(config: Config) -> float | None:
    """Return after how many hours the last backup is too old; None if nobody wants to know."""
    if config.alerts.backup_hours is not None or config.backup.every is None:
        return config.alerts.backup_hours
    return 2 * config.backup.every


def find_agent_names(agents: Agents, name: str) -> frozenset[str]:
    """Return the id and the slug of an agent that is named by one of them."""
    found = agents.find_by_name(name)
    return frozenset((name,) if found is None else (name, found.id, agents.display_name(found.id)))


def create_conditions(sources: AlertSources, wanted: frozenset[str]) -> list[Condition]:
    """Return the conditions whose kinds are wanted."""
    found: Mapping[str, type[Condition]] = discover_modules(conditions.__name__, "CONDITION")
    return [condition(sources) for condition in found.values() if condition.kind in wanted]


def _make_receiver(name: str, given: AlertReceiverSettings, settings: Alerts) -> AlertReceiver:
    return AlertReceiver(
        name=name,
        kinds=frozenset(map(str, AlertKind if given.kinds is None else given.kinds)),
        agents=frozenset(given.agents),
        labels=given.labels,
        sources=frozenset(map(Source, given.sources)),
        per_hour=given.per_hour or settings.per_hour,
        address_mark=_mark_address(given),
    )


def _mark_address(given: AlertReceiverSettings) -> str:
    """Return what differs for two addresses, almost surely, and tells neither."""
    said = msgspec.json.encode([given.chat, given.webhook, given.command])
    return hashlib.sha256(said).hexdigest()[:ADDRESS_MARK_CHARACTERS]
