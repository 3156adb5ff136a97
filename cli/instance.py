"""Finds the files of one gateway, and the token for it. Light, because `gateway status` uses it.

It reads the few settings that it needs itself, because `gateway.config` is slow to import.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gateway import paths, private_file
from gateway.config_files import env_file, json_file, variables
from gateway.errors import ConfigError, Forbidden
from gateway.security import secret_file
from gateway.supervisor import last_stop, lock_search, record
from gateway.supervisor.last_stop import LastStop
from gateway.supervisor.record import Record

#: the settings that are read here, with their environment variables, as in `gateway.config`
TOKEN_SETTING = ("gateway.auth.token", ("MOONGATE_TOKEN", "XITTO_SERVER_TOKEN", "OPENCLAW_TOKEN"))
AUTH_MODE_SETTING = ("gateway.auth.mode", ("MOONGATE_AUTH_MODE",))
PUBLIC_URL_SETTING = ("gateway.public_url", ("MOONGATE_PUBLIC_URL",))
DATA_SETTING = ("data.directory", ("MOONGATE_DATA_DIR", "XCCLAW_DATA_DIR"))

#: the variable with a token for a gateway elsewhere; the other names of `TOKEN_SETTING` are of this machine's only
SENT_TOKEN_VARIABLE = "MOONGATE_TOKEN"  # noqa: S105 a name
#: the variable that names a file with the token for a gateway that runs; a gateway that starts does not use it
TOKEN_FILE_VARIABLE = "MOONGATE_TOKEN_FILE"  # noqa: S105 a name
#: bytes of such a file
MAX_TOKEN_FILE_BYTES = 4096


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
        """Return the instance that the environment names.

        Raises:
            Forbidden: its state directory belongs to another user, who lets nobody in.
        """
        home = paths.state_directory(env)
        _require_readable(home)
        return cls(home, paths.config_file(env), env)

    @property
    def served_certificates(self) -> Path:
        """The file with the certificates of the gateway that runs; there is none if it speaks plain HTTP."""
        found = self.lock_record
        config = self.config if found is None else Path(found.configPath)
        return paths.served_certificates_file(paths.locks_directory(self.home), config)

    @property
    def lock_record(self) -> Record | None:
        """What the gateway wrote into its lock file; None if none ever ran."""
        return record.read_record(self.lock_file)

    @property
    def lock_file(self) -> Path:
        """The lock file of the gateway that runs; if none does, that of the next one."""
        return lock_search.find_lock(self.home, self.config, self._find_data_directory)

    @property
    def requests_base(self) -> Path:
        """The file next to which the running gateway looks for requests."""
        return lock_search.requests_base(self.lock_file, self.home)

    @property
    def last_stop(self) -> LastStop | None:
        """How the last gateway ended; None if it could not record that."""
        return last_stop.read_last_stop(self.lock_file)

    @property
    def access_token(self) -> FoundToken | None:
        """The token: from the environment, `.env`, the config file, or the token file. None if none is needed or found.

        Raises:
            ConfigError: the token file or `.env` cannot be used.
        """
        if (mode := self._read_setting(*AUTH_MODE_SETTING)) is not None and mode.value == "none":
            return None
        given = self._read_setting(*TOKEN_SETTING)
        if given is not None and given.source in TOKEN_SETTING[1]:
            return given
        if named := self.env.get(TOKEN_FILE_VARIABLE):
            return read_token_file(named, TOKEN_FILE_VARIABLE)
        if given is not None:
            return given
        file = paths.token_file(self.home)
        found = secret_file.read_secret(file)
        return None if found is None else FoundToken(found, f"the file {file}")

    @property
    def public_url(self) -> str | None:
        """The address for others that the settings give; None if they give none, or cannot be read."""
        with contextlib.suppress(ConfigError):
            found = self._read_setting(*PUBLIC_URL_SETTING)
            return found and found.value.rstrip("/")
        return None

    def _find_data_directory(self) -> Path | None:
        """Return the data directory; None if the settings cannot be read."""
        try:
            given = self._read_setting(*DATA_SETTING)
            return self.home / "data" if given is None else paths.expand_path(given.value, given.source)
        except ConfigError:
            return None

    def _read_setting(self, name: str, names: tuple[str, ...]) -> FoundToken | None:
        for values, origin in ((self.env, ""), (self.dotenv_values, " in .env")):
            for known in names:
                if values.get(known):
                    return FoundToken(str(values[known]), known + origin)
        value = json_file.get_nested(self.config_content, name)
        return FoundToken(value, f"{name} in {self.config}") if isinstance(value, str) and value else None

    @property
    def dotenv_values(self) -> Mapping[str, str]:
        """The variables that `.env` in the state directory sets.

        Raises:
            ConfigError: the file cannot be used.
        """
        return env_file.read_env_file(paths.env_file(self.home))

    @property
    def config_content(self) -> Any:
        """The content of the config file, with the variables that it names; None if it cannot be used."""
        try:
            written = json_file.decode_config(private_file.read_plain_file(self.config), str(self.config))
            return variables.substitute_variables(written, {**self.dotenv_values, **self.env}, str(self.config))
        except (OSError, ConfigError):
            return None  # `gateway config check` says what is wrong with it


def read_token_file(named: str, source: str) -> FoundToken:
    """Return the token in a file that the user names.

    Args:
        source: the option or the variable that names it.

    Raises:
        ConfigError: there is no such file, or no token in it.
    """
    file = paths.expand_path(named, source)
    try:
        content = private_file.read_plain_file(file, MAX_TOKEN_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"{source}: cannot read {file}: {error.strerror}.", remedy="Correct the path.") from error
    token = content.decode("utf-8", "replace").strip()
    if not token or not token.isprintable():
        raise ConfigError(f"{source}: {file} has no token: one line of printable characters.")
    return FoundToken(token, f"the file {file}")


def _require_readable(home: Path) -> None:
    try:
        paths.locks_directory(home).stat()
    except PermissionError as error:
        owner = _find_owner(home)
        whose = f"belongs to {owner}" if owner else "belongs to another user"
        raise Forbidden(
            f"the state directory {home} {whose}, and this user cannot read it.",
            remedy=f"Run the command as that user: sudo -u {owner or 'USER'} gateway …, or set MOONGATE_HOME.",
        ) from error
    except OSError:
        pass  # there is none yet, or another check says what is wrong with it


def _find_owner(path: Path) -> str | None:
    """Return the user that a path belongs to, or else its nearest parent that can be seen."""
    import pwd  # late: does not exist on Windows, where the directory raises no PermissionError

    for place in (path, *path.parents):
        with contextlib.suppress(OSError, KeyError):
            return pwd.getpwuid(place.stat().st_uid).pw_name
    return None
