"""Gathers the secrets of the settings, and makes the gateway's own token."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from gateway import backends, paths
from gateway.assembly import channels, deliveries
from gateway.assembly.tracing import make_tracing
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.engine.messaging import webhook_endpoint
from gateway.security import secret_file
from gateway.store import choice


def collect_secrets(config: Config, agents: Iterable[Agent], environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return all values that must not be written to a log."""
    found = [
        config.gateway.auth.token,
        gateway_token(config),
        deliveries.webhook_secret(config),
        *choice.find_secrets(config),
    ]
    known = config.known_environment(environ)
    for _, kind, options in channels.find_configured_channels(config):
        found += kind.secrets(options, known)
    for name, entry in config.inbound.items():
        found += webhook_endpoint.read_secrets(name, entry, known)
    if (tracing := make_tracing(config, environ)) is not None:
        found += tracing.secrets
    for secret in (config.webhooks.secret, *config.webhooks.secrets.values()):
        found += deliveries.list_secrets(secret)
    for receiver in config.alerts.receivers.values():
        found += receiver.secrets
    for agent in agents:
        found += [getattr(agent.options, name) for name in backends.find_backends()[agent.backend].secrets]
    return [secret for secret in found if secret]


def gateway_token(config: Config) -> str | None:
    """Return the gateway's own token; generate it if it is missing. None if callers need no token."""
    if config.gateway.auth.mode == "none":
        return None
    return config.gateway.auth.token or secret_file.read_or_create(paths.token_file(config.home))
