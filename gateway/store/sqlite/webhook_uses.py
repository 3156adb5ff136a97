"""Which webhooks are in use, read without a store: from the database as it is."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from gateway.domain.address_policy import WebhookUse
from gateway.errors import ConfigError
from gateway.store.sql import deliveries
from gateway.store.sqlite import opening
from gateway.store.sqlite.dialect import SCHEDULED_WEBHOOKS


def read_webhook_uses(path: Path, limit: int) -> list[WebhookUse]:
    """Return webhooks of enabled schedules, and receivers of webhooks that deliveries wait for: so many of each.

    Nothing if the database cannot be read.
    """
    try:
        with closing(opening.open_existing(path)) as connection:
            return deliveries.query_webhook_uses(connection.execute, SCHEDULED_WEBHOOKS, limit)
    except (apsw.Error, ConfigError):
        return []
