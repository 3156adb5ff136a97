"""The config file over time: its present content, and a copy of the last content that worked."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gateway import config, paths, private_file
from gateway.config import Config
from gateway.errors import ConfigError


class ConfigReading(NamedTuple):
    """One reading of the config file: its content, and the settings that result from exactly this content."""

    #: None if there is no file: all settings have their defaults
    content: bytes | None
    #: None if the settings cannot be used
    settings: Config | None
    #: why they cannot be used
    error: str = ""


def read_config(env: Mapping[str, str]) -> ConfigReading:
    """Read the config file once, with the other sources of settings."""
    content = None
    try:
        content = config.read_config_file(env)
        return ConfigReading(content, config.parse_config(content, env))
    except ConfigError as error:
        return ConfigReading(content, None, str(error))


class ConfigHistory:
    """Keeps the last good copy of one config file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._good = paths.last_good_config(path)
        self._rejected = path.with_name(f"{path.name}.rejected")

    def keep_last_good(self, content: bytes | None) -> None:
        """Keep this content as the last good copy: a generation serves with it."""
        with contextlib.suppress(OSError):  # a full disk is no reason to end
            if content is None:
                self._good.unlink(missing_ok=True)
            else:
                private_file.replace_private_file(self._good, content)

    def fall_back(self) -> Path | None:
        """Return the copy that last worked, and put the bad file aside; None if there is no copy."""
        if not self._good.exists():
            return None
        with contextlib.suppress(OSError):
            private_file.replace_private_file(self._rejected, self._path.read_bytes())
        return self._good
