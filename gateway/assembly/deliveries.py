"""Makes what sends webhooks, with the secrets and addresses that the settings allow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gateway import paths, plugins
from gateway.config import Config, is_loopback
from gateway.domain.address_policy import AddressPolicy, RefusedWebhook
from gateway.domain.times import Clock
from gateway.engine.background.outbox import BodyEncoder
from gateway.engine.resources.deliveries import MAX_WEBHOOK_USES
from gateway.errors import ConfigError
from gateway.outbound.webhook import WebhookSender
from gateway.security import secret_file, signatures
from gateway.security.secret_names import hide_secrets_in_key
from gateway.store import choice


def make_webhook_sender(config: Config, clock: Clock) -> WebhookSender:
    """Return the webhook sender.

    Raises:
        ConfigError: a secret is invalid, or the allow list has an entry that is neither host nor network.
    """
    keys, own = read_webhook_keys(config)
    made = _parse_signing_keys("webhook-secret", webhook_secret(config))
    return WebhookSender(
        make_address_policy(config), clock, keys=keys or made, own_keys=own, deadline=config.webhooks.timeout
    )


def read_webhook_keys(config: Config) -> tuple[list[bytes], dict[str, list[bytes]]]:
    """Return the signing keys from the settings, and the keys of receivers that have their own.

    Raises:
        ConfigError: a secret is invalid.
    """
    own = {}
    for receiver, secret in config.webhooks.secrets.items():
        where = f'webhooks.secrets: "{hide_secrets_in_key(receiver)}"'
        if not re.fullmatch(r"https?://[^/@?#\s]+", receiver.lower()):
            raise ConfigError(f"{where} is not the beginning of a URL, such as https://example.org:8443.")
        own[receiver.lower()] = _parse_signing_keys(where, secret)
    return _parse_signing_keys("webhooks.secret", config.webhooks.secret), own


def _parse_signing_keys(where: str, secret: str | list[str] | None) -> list[bytes]:
    try:
        return [signatures.decode_standard_key(one) for one in list_secrets(secret)]
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", remedy=error.remedy) from error


def make_address_policy(config: Config) -> AddressPolicy:
    return AddressPolicy.from_allow_list(config.webhooks.allow_private, local=is_loopback(config.gateway.host))


def list_secrets(secret: str | list[str] | None) -> list[str]:
    return [secret] if isinstance(secret, str) else secret or []


def gather_body_encoders() -> Mapping[str, BodyEncoder]:
    """Return the encoders of delivery bodies by format name, from `BODIES` in `api/routes` and `api/compat`."""
    return plugins.gather_mappings("gateway.api.routes", "BODIES") | plugins.gather_mappings(
        "gateway.api.compat", "BODIES"
    )


def find_refused_webhooks(config: Config) -> Sequence[RefusedWebhook]:
    """Return the webhooks of schedules and waiting deliveries that these settings refuse.

    Reads the database as it is, also while a gateway uses it. If it cannot be read, nothing is found.
    """
    uses = choice.read_webhook_uses(config, MAX_WEBHOOK_USES)
    return make_address_policy(config).find_refused(uses)


def webhook_secret(config: Config) -> str | None:
    """Return the generated webhook secret; create it if it is missing. None if the settings give a secret."""
    if config.webhooks.secret:
        return None
    return secret_file.read_or_create(paths.webhook_secret_file(config.home), signatures.new_standard_secret)
