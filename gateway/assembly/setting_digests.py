"""What the audit log compares of the settings of two starts."""

from __future__ import annotations

import socket

from gateway import paths
from gateway.config import Config, Settings
from gateway.security import secret_file
from gateway.settings.digests import SettingDigests, digest_settings


def describe_settings(config: Config) -> tuple[str, SettingDigests]:
    """Return a name of this gateway among others with the same database, and digests of its settings.

    Raises:
        ConfigError: the key for them can neither be read nor created.
    """
    groups = {name: getattr(config, name) for name in Settings.__struct_fields__}
    key = secret_file.read_or_create(paths.settings_key_file(config.home))
    return f"{socket.gethostname()} {config.home}", digest_settings(groups, key)
