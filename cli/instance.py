"""Finds the files of one gateway, and the token for it. Light, because `gateway status` uses it.

It reads the few settings that it needs itself, because `gateway.config` is slow to import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from gateway import paths
from gateway.security import secret_file
from gateway.supervisor import last_stop, record
from gateway.supervisor.last_stop import LastStop
from gateway.supervisor.record import Record

#: the settings that are read here, with their environment variables, as in `gateway.config`
TOKEN_SETTING = ("gateway.auth.token", ("MOONGATE_TOKEN", "XITTO_SERVER_TOKEN", "OPENCLAW_TOKEN"))
AUTH_MODE_SETTING = ("gateway.auth.mode", ("MOONGATE_AUTH_MODE",))


class FoundToken(NamedTuple):
    """A value, and where it was found."""

    value: str
    source: str


class Instance(NamedTuple):
    """The state directory, config file and environment of one gateway."""

    home: Path
    config: Path
    env: Mapping[str, str]

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Instance:
        return cls(paths.state_directory(env), paths.config_file(env), env)

    @property
    def lock_record(self) -> Record | None:
        """What the gateway wrote into its lock file; None if none ever ran."""
        return record.read_record(paths.lock_file(self.home, self.config))

    @property
    def last_stop(self) -> LastStop | None:
        """How the last gateway ended; None if it could not record that."""
        return last_stop.read_last_stop(paths.lock_file(self.home, self.config))

    @property
    def access_token(self) -> FoundToken | None:
        """The token: from the environment, `.env`, the config file, or the token file. None if none is needed or found.

        Raises:
            ConfigError: the token file cannot be used.
        """
        if (mode := self._read_setting(*AUTH_MODE_SETTING)) is not None and mode.value == "none":
            return None
        given = self._read_setting(*TOKEN_SETTING)
        if given is not None:
            return given
        file = paths.token_file(self.home)
        found = secret_file.read_secret(file)
        return None if found is None else FoundToken(found, f"the file {file}")

    def _read_setting(self, name: str, names: tuple[str, ...]) -> FoundToken | None:
        for values, origin in ((self.env, ""), (self.dotenv_values, " in .env")):
            for known in names:
                if values.get(known):
                    return FoundToken(str(values[known]), known + origin)
        value = get_nested(self.config_content, name)
        return FoundToken(value, f"{name} in {self.config}") if isinstance(value, str) and value else None

    @property
    def dotenv_values(self) -> Mapping[str, str | None]:
        """The variables that `.env` in the state directory sets."""
        file = self.home / ".env"
        if not file.exists():
            return {}
        import dotenv  # late: most users have no such file

        return dotenv.dotenv_values(file, interpolate=False)

    @property
    def config_content(self) -> Any:
        """The content of the config file; None if it cannot be read."""
        try:
            return json.loads(self.config.read_bytes().decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            return None  # `gateway config check` says what is wrong with it


def get_nested(value: Any, name: str) -> Any:
    """Return the value at a dotted name in nested objects; None if there is none."""
    return reduce(lambda found, part: found.get(part) if isinstance(found, dict) else None, name.split("."), value)
