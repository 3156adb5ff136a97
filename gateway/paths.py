"""Paths on disk: one state directory, with everything below it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

_LAST_GOOD = ".last-good"


def state_directory(env: Mapping[str, str]) -> Path:
    """Return the state directory: `MOONGATE_HOME`, else `~/.moongate`."""
    given = env.get("MOONGATE_HOME")
    if given:
        return Path(given).expanduser().absolute()
    base = env.get("HOME") or env.get("USERPROFILE")
    return (Path(base) if base else Path.home()) / ".moongate"


def config_file(env: Mapping[str, str]) -> Path:
    """Return the config file: `MOONGATE_CONFIG`, else `config.json` in the state directory."""
    given = env.get("MOONGATE_CONFIG")
    return Path(given).expanduser().absolute() if given else state_directory(env) / "config.json"


def token_file(state: Path) -> Path:
    return state / "token"


def webhook_secret_file(state: Path) -> Path:
    """Return the file of the webhook secret that is used if the settings give none."""
    return state / "webhook-secret"


def logs_directory(state: Path) -> Path:
    return state / "logs"


def log_file(state: Path, config_file: Path) -> Path:
    """Return the log file of a config; the last good copy of a config has the same log file."""
    meant = config_file.with_name(config_file.name.removesuffix(_LAST_GOOD))
    usual = meant.resolve() == (state / "config.json").resolve()
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
    """Return the lock file of a config, named by the hash of its resolved path.

    So two configs can run two gateways at the same time, and two spellings of one path name one lock.
    """
    return locks_directory(state) / f"gateway.{_path_digest(config_file)}.lock"


def _path_digest(config_file: Path) -> str:
    return hashlib.sha256(os.fsencode(config_file.resolve())).hexdigest()[:16]


def data_lock_file(data_directory: Path) -> Path:
    """Return the lock file of a data directory, next to the database."""
    return data_directory / "gateway.lock"


def make_private_directory(path: Path) -> Path:
    """Create a directory that only its owner may enter, with its missing parents, and return its path.

    Raises:
        OSError: it cannot be created.
    """
    for missing in [parent for parent in reversed(path.parents) if not parent.exists()]:
        missing.mkdir(exist_ok=True, mode=0o700)  # with `parents=True`, everyone could enter them
    path.mkdir(exist_ok=True, mode=0o700)
    return path
