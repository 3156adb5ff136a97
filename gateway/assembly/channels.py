"""Checks and opens what the settings say of channels and webhook endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from gateway import channels, log, plugins, validation
from gateway.channels import ChannelResources, ChannelType
from gateway.config import Config
from gateway.domain.ports.channel import Channel
from gateway.domain.times import Clock, wall_clock
from gateway.engine.messaging import webhook_endpoint
from gateway.engine.messaging.channels import OpenChannels
from gateway.engine.messaging.webhook_endpoint import WebhookEndpoint
from gateway.errors import ConfigError
from gateway.validation import suggest_name

_log = log.get()


def check_channels(config: Config, environ: Mapping[str, str]) -> None:
    """Check that all channels can be opened. Their agents are not checked: some are stored, not configured."""
    configured = {name: options for name, _, options in find_configured_channels(config)}
    for _, kind, options in find_configured_channels(config):
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


def find_configured_channels(config: Config) -> Iterator[tuple[str, ChannelType, Any]]:
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


async def open_channels(
    stack: AsyncExitStack, config: Config, environ: Mapping[str, str], clock: Clock
) -> OpenChannels:
    resources = ChannelResources(environ=config.known_environment(environ), clock=clock)
    kinds = channels.find_channels()
    opened: dict[str, Channel] = {}
    for name, kind, options in find_configured_channels(config):
        assert kind.open is not None, "a channel with options can be opened"
        opened[name] = await stack.enter_async_context(kind.open(options, resources))
    return OpenChannels(
        chat_channels=opened,
        webhook_endpoints=_open_webhook_endpoints(config, resources.environ, clock),
        session_only=frozenset(name for name, kind in kinds.items() if kind.open is None),
        unconfigured=frozenset(name for name, kind in kinds.items() if kind.open is not None and name not in opened),
    )
