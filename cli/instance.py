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
TOKEN = ("gateway.auth.token", ("MOONGATE_TOKEN", "XITTO_SERVER_TOKEN", "OPENCLAW_TOKEN"))
MODE = ("gateway.auth.mode", ("MOONGATE_AUTH_MODE",))


class Secret(NamedTuple):
    """A value, and where it was found."""

    value: str
    source: str


class Place(NamedTuple):
    """The state directory, config file and environment of one gateway."""

    home: Path
    config: Path
    env: Mapping[str, str]

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Place:
        return cls(paths.home(env), paths.config(env), env)

    @property
    def record(self) -> Record | None:
        """What the gateway wrote into its lock file; None if none ever ran."""
        return record.read(paths.lock(self.home, self.config))

    @property
    def last_stop(self) -> LastStop | None:
        """How the last gateway ended; None if it could not record that."""
        return last_stop.read(paths.lock(self.home, self.config))

    @property
    def token(self) -> Secret | None:
        """The token: from the environment, `.env`, the config file, or the token file. None if none is needed or found.

        Raises:
            ConfigError: the token file cannot be used.
        """
        if (mode := self._setting(*MODE)) is not None and mode.value == "none":
            return None
        given = self._setting(*TOKEN)
        if given is not None:
            return given
        file = paths.token(self.home)
        found = secret_file.read(file)
        return None if found is None else Secret(found, f"the file {file}")

    def _setting(self, name: str, names: tuple[str, ...]) -> Secret | None:
        for values, origin in ((self.env, ""), (self.dotenv, " in .env")):
            for known in names:
                if values.get(known):
                    return Secret(str(values[known]), known + origin)
        value = inner(self.written, name)
        return Secret(value, f"{name} in {self.config}") if isinstance(value, str) and value else None

    @property
    def dotenv(self) -> Mapping[str, str | None]:
        """The variables that `.env` in the state directory sets."""
        file = self.home / ".env"
        if not file.exists():
            return {}
        import dotenv  # late: most users have no such file

        return dotenv.dotenv_values(file, interpolate=False)

    @property
    def written(self) -> Any:
        """The content of the config file; None if it cannot be read."""
        try:
            return json.loads(self.config.read_bytes().decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            return None  # `gateway config check` says what is wrong with it


def inner(value: Any, name: str) -> Any:
    """Return the value at a dotted name in nested objects; None if there is none."""
    return reduce(lambda found, part: found.get(part) if isinstance(found, dict) else None, name.split("."), value)
