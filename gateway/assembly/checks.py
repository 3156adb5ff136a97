"""Checks all settings before a gateway serves with them."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.assembly import channels, deliveries
from gateway.assembly.agents import make_agents
from gateway.assembly.tracing import make_tracing
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.budget import CalendarDays
from gateway.domain.fleet import Role
from gateway.errors import ConfigError, InvalidRequest


def check_settings(config: Config, environ: Mapping[str, str], *, remember: bool = False) -> list[Agent]:
    """Check everything that the settings say, and return the agents in force.

    Args:
        remember: whether the next starts use an agent that is found now; serving processes say so.

    Raises:
        ConfigError: a setting is wrong; the message names it.
    """
    with config.name_origins():
        agents = make_agents(config, environ, remember=remember)
        channels.check_channels(config, config.known_environment(environ))
        make_tracing(config, environ)
        deliveries.read_webhook_keys(config)
        deliveries.make_address_policy(config)
        make_days(config)
        _check_certificate(config)
        if config.store.url is None and Role(config.fleet.role) is Role.WORKER:
            raise ConfigError(  # it names no setting in front: `gateway worker` sets the role
                "a worker needs store.url: the PostgreSQL URL of its fleet.",
                remedy="Set store.url, or MOONGATE_STORE_URL, to that of its gateways.",
            )
        return agents


def make_days(config: Config) -> CalendarDays:
    """Return the calendar days of the settings' time zone.

    Raises:
        ConfigError: there is no such zone.
    """
    try:
        return CalendarDays(config.cron.timezone)
    except InvalidRequest as error:
        raise ConfigError(f"cron.{error}") from error


def _check_certificate(config: Config) -> None:
    if config.certificate_file is not None and config.key_file is not None:
        from gateway.security import key_pair  # late: few gateways speak TLS

        key_pair.load_key_pair(config.certificate_file, config.key_file)
