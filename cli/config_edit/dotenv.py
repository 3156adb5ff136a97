"""Sets variables in `.env` of the state directory, for secrets that the config file only names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cli.config_edit.edit_lock import hold_edit_lock
from gateway import paths, private_file
from gateway.config_files.env_edit import set_variable
from gateway.errors import ConfigError
from gateway.paths import display_path


def set_in_dotenv(env: Mapping[str, str], name: str, value: str) -> Path:
    """Set a variable in `.env`, which only its owner can read, and return the file.

    Raises:
        ConfigError: the file cannot be used, before or after the change.
    """
    home = paths.state_directory(env)
    with hold_edit_lock(home):
        file = Path(os.path.realpath(paths.env_file(home)))
        shown = display_path(paths.env_file(home))
        try:
            before = _read_file(file)
            after = set_variable(before, name, value, shown)
            if after != before:
                private_file.replace_private_file(file, after)
        except OSError as error:
            raise ConfigError(f"cannot write {shown}: {error.strerror}.", remedy=private_file.REPAIR_HINT) from error
    return file


def _read_file(file: Path) -> bytes:
    try:
        return private_file.read_plain_file(file, owned=True)
    except FileNotFoundError:
        return b""
