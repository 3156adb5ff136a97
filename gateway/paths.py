"""Paths on disk: one state directory, with everything below it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import ConfigError

_LAST_GOOD = ".last-good"


def state_directory(env: Mapping[str, str]) -> Path:
    """Return the state directory: `MOONGATE_HOME`, else `~/.moongate`.

    Raises:
        ConfigError: the path cannot be used, or nothing says where the home directory is.
    """
    given = env.get("MOONGATE_HOME")
    if given:
        return expand_path(given, "MOONGATE_HOME")
    return home_directory(env) / ".moongate"


def home_directory(env: Mapping[str, str]) -> Path:
    """Return the home directory: `HOME`, on Windows also `USERPROFILE`, else what the system knows of this user.

    Raises:
        ConfigError: the variable is set, but is no absolute path, or there is no home directory.
    """
    names = ("HOME",) if os.name == "posix" else ("HOME", "USERPROFILE")
    name = next((name for name in names if name in env), None)
    if name is None:
        return expand_path("~", "HOME")
    _require_absolute(name, env[name])
    return expand_path(env[name], name)


def base_directory(env: Mapping[str, str], name: str, usual: str) -> Path:
    """Return a base directory of the user; a variable that is empty or relative does not count.

    https://specifications.freedesktop.org/basedir-spec/latest/ says so.

    Args:
        name: its variable, such as `XDG_CONFIG_HOME`.
        usual: where it is in the home directory if no variable names it.

    Raises:
        ConfigError: as with `home_directory`.
    """
    given = env.get(name, "")
    return Path(given) if os.path.isabs(given) else home_directory(env) / usual


def _require_absolute(name: str, given: str) -> None:
    if not os.path.isabs(given):
        said = f"{given!r} is not an absolute path" if given else "is empty"
        raise ConfigError(f"{name}: {said}.", remedy=f"Set {name} to your home directory, or unset it.")


def config_file(env: Mapping[str, str]) -> Path:
    """Return the config file: `MOONGATE_CONFIG`, else `config.json` in the state directory.

    Raises:
        ConfigError: as with `state_directory`.
    """
    given = env.get("MOONGATE_CONFIG")
    return expand_path(given, "MOONGATE_CONFIG") if given else state_directory(env) / "config.json"


def expand_path(given: str, name: str) -> Path:
    """Return an absolute path, with `~` expanded. Links stay as they are.

    Args:
        name: what gives the path, for the message.

    Raises:
        ConfigError: the path names a user who does not exist, or no program can pass it on.
    """
    try:
        given.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(given).decode("utf-8", "backslashreplace")
        raise ConfigError(
            f"{name}: the path {shown} is not valid UTF-8.", remedy="Rename it, or use another."
        ) from None
    if "\0" in given:
        raise ConfigError(f"{name}: a path cannot contain the character NUL.", remedy="Remove it.")
    if not given.strip():
        raise ConfigError(f"{name}: a path cannot be blank.", remedy="Give a path, or unset it.")
    if os.name == "posix" and given.partition("/")[0] == "~" and "HOME" in os.environ:
        _require_absolute("HOME", os.environ["HOME"])
    expanded = os.path.expanduser(given)
    if os.path.isabs(expanded) or not given.startswith("~"):
        return Path(os.path.abspath(expanded))
    user = given.partition("/")[0].removeprefix("~")
    if user:
        raise ConfigError(f"{name}: there is no user {user!r}, so there is no {given}.", remedy="Give the whole path.")
    raise ConfigError(f"{name}: this user has no home directory.", remedy="Set HOME or MOONGATE_HOME.")


def display_path(path: Path) -> str:
    """Return a path with `~` for the home directory."""
    home = os.path.expanduser("~")
    try:
        below = path.relative_to(home) if os.path.isabs(home) and home != "/" else None
    except ValueError:
        below = None
    if below is None:
        return str(path)
    return f"~/{below}" if below.parts else "~"


def env_file(state: Path) -> Path:
    """Return the file of variables that the state directory may have."""
    return state / ".env"


def token_file(state: Path) -> Path:
    return state / "token"


def webhook_secret_file(state: Path) -> Path:
    """Return the file of the webhook secret that is used if the settings give none."""
    return state / "webhook-secret"


def settings_key_file(state: Path) -> Path:
    """Return the file of the key with which digests of settings are made; no backup has it."""
    return state / "settings-key"


def found_agent_file(state: Path) -> Path:
    """Return the file that remembers which agent was found when none was configured."""
    return state / "found-agent.json"


def update_status_file(state: Path) -> Path:
    """Return what the last question about newer versions found."""
    return state / "update-status.json"


def restore_plan_file(state: Path) -> Path:
    """Return the file that lists what is left of a restore; it is there only if that was interrupted."""
    return state / "restore.json"


def update_journal_file(state: Path) -> Path:
    """Return which step an update is at; it is there only while one is under way, or was interrupted."""
    return state / "update-journal.json"


def logs_directory(state: Path) -> Path:
    return state / "logs"


def log_file(state: Path, config_file: Path) -> Path:
    """Return the log file of a config; the last good copy of a config has the same log file."""
    meant = _meant_config(config_file)
    usual = os.path.abspath(meant) == os.path.abspath(state / "config.json")
    return logs_directory(state) / ("gateway.log" if usual else f"gateway.{_path_digest(meant)}.log")


def start_output_file(state: Path, config_file: Path) -> Path:
    """Return the file for the output of a gateway in the background before it opens its log."""
    return log_file(state, config_file).with_suffix(".start")


def last_good_config(config_file: Path) -> Path:
    """Return the path of the last good copy of a config."""
    return config_file.with_name(config_file.name + _LAST_GOOD)


def scratch_directory(state: Path) -> Path:
    return state / "scratch"


def locks_directory(state: Path) -> Path:
    return state / "locks"


def lock_file(state: Path, config_file: Path) -> Path:
    """Return the lock file of a config, named by the hash of its path as it is given.

    So two configs can run two gateways at the same time, and a link in the path may get another target while
    one runs. `gateway.supervisor.lock_search` finds a gateway that was started with another path of the same file.
    """
    return locks_directory(state) / f"gateway.{_path_digest(config_file)}.lock"


def _path_digest(config_file: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.abspath(config_file))).hexdigest()[:16]


def served_certificates_file(locks: Path, config_file: Path) -> Path:
    """Return the file with the certificates that the gateway of a config serves; it speaks plain HTTP without one.

    Args:
        locks: the locks directory.
    """
    return locks / f"gateway.{_path_digest(_meant_config(config_file))}.pem"


def _meant_config(config_file: Path) -> Path:
    """Return the config that a path means: the last good copy of one means that one."""
    return Path(str(config_file).removesuffix(_LAST_GOOD))


def restore_lock_file(state: Path) -> Path:
    """Return the lock file of the command that restores a backup into a state directory."""
    return locks_directory(state) / "restore.lock"


def database_file(data_directory: Path) -> Path:
    """Return the SQLite database of a data directory."""
    return data_directory / "moongate.db"


def data_lock_file(data_directory: Path) -> Path:
    """Return the lock file of a data directory, next to the database."""
    return data_directory / "gateway.lock"


def make_private_directory(path: Path) -> Path:
    """Create a directory that only its owner may enter, with its missing parents, and return its path.

    Raises:
        NotADirectoryError: it, or one of its parents, is something else; the message names that.
        OSError: it cannot be created.
    """
    try:
        for missing in [parent for parent in reversed(path.parents) if not parent.exists()]:
            missing.mkdir(exist_ok=True, mode=0o700)  # with `parents=True`, everyone could enter them
        path.mkdir(exist_ok=True, mode=0o700)
    except (FileExistsError, NotADirectoryError) as error:
        for place in (*reversed(path.parents), path):
            if os.path.lexists(place) and not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{display_path(place)} is not a directory") from error
        raise
    return path
