"""Makes the alert service from the settings."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from gateway.domain.alert import AlertKind
from gateway.domain.ports.channel import DeliverySender
from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.engine.alerts import conditions
from gateway.engine.alerts.condition import AlertLimits, AlertSources, Condition
from gateway.engine.alerts.planning import AlertReceiver, TellingRules
from gateway.engine.alerts.senders import AlertSender, ChatAlertSender, CommandAlertSender, WebhookAlertSender
from gateway.engine.alerts.service import AlertService
from gateway.engine.engine import Engine
from gateway.plugins import discover_modules
from gateway.process.child import Children
from gateway.settings.alerts import AlertReceiverSettings, Alerts


class AlertResources(Struct, frozen=True, kw_only=True):
    """What the alert service uses of the gateway."""

    engine: Engine
    store: Store
    children: Children
    webhook_sender: DeliverySender
    #: the state directory, and the one with the data
    home: Path
    data_directory: Path
    #: hours after which a backup is too old; None if there are no backups by the settings
    backup_hours: float | None
    #: seconds before each attempt to send
    retry_delays: list[float]
    clock: Clock


def open_alerts(settings: Alerts, resources: AlertResources) -> AlertService:
    """Return the service. It looks only at what a receiver wants."""
    engine = resources.engine
    enabled = {name: given for name, given in settings.receivers.items() if given.enabled}
    receivers = [_make_receiver(name, given, settings, engine) for name, given in enabled.items()]
    wanted = frozenset(kind for receiver in receivers for kind in receiver.kinds)
    sources = AlertSources(
        store=resources.store,
        agents=engine.agents,
        usage=engine.usage,
        channels=engine.channels,
        home=resources.home,
        data_directory=resources.data_directory,
        limits=AlertLimits(
            schedule_failures=settings.schedule_failures,
            channel_minutes=settings.channel_minutes,
            disk_free_mb=settings.disk_free_mb,
            backup_hours=resources.backup_hours,
            crashes=settings.crashes,
        ),
        clock=resources.clock,
    )
    host = platform.node() or "localhost"
    return AlertService(
        resources.store,
        create_conditions(sources, wanted),
        receivers,
        {name: _make_sender(given, resources, host) for name, given in enabled.items()},
        TellingRules(
            group=round(settings.group_seconds * 1000),
            repeat=None if settings.repeat_hours is None else round(settings.repeat_hours * 3_600_000),
        ),
        resources.clock,
        resources.retry_delays,
    )


def create_conditions(sources: AlertSources, wanted: frozenset[str]) -> list[Condition]:
    """Return the conditions whose kinds are wanted."""
    found: Mapping[str, type[Condition]] = discover_modules(conditions.__name__, "CONDITION")
    return [condition(sources) for condition in found.values() if condition.kind in wanted]


def _make_receiver(name: str, given: AlertReceiverSettings, settings: Alerts, engine: Engine) -> AlertReceiver:
    named = [(agent, engine.agents.find_by_name(agent)) for agent in given.agents]
    return AlertReceiver(
        name=name,
        kinds=frozenset(map(str, AlertKind if given.kinds is None else given.kinds)),
        agents=frozenset(written if found is None else found.id for written, found in named),
        labels=given.labels,
        sources=frozenset(given.sources),
        per_hour=given.per_hour or settings.per_hour,
    )


def _make_sender(given: AlertReceiverSettings, resources: AlertResources, host: str) -> AlertSender:
    if given.chat is not None:
        channel, _, chat = given.chat.partition(":")
        return ChatAlertSender(resources.engine.channels, channel, chat, host, resources.clock)
    if given.webhook is not None:
        return WebhookAlertSender(resources.webhook_sender, given.webhook, host)
    assert given.command is not None, "the settings were checked"
    return CommandAlertSender(resources.children, given.command, resources.home, host)
