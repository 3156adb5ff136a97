"""Finds the lock file of the gateway that runs with a config.

Usually its name follows from the path of the config. A gateway may also have been started with another path of
the same file, or by version 0.1.0, which named the lock by the target of the links in the path.

Standard library only, so that `gateway status` is quick.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gateway import paths
from gateway.supervisor import record


def find_lock(state: Path, config_file: Path, find_data: Callable[[], Path | None] = lambda: None) -> Path:
    """Return the lock file of the gateway that runs with a config; if none does, the file that the next one takes.

    Args:
        find_data: returns the data directory, whose lock names the running gateway even if its own file is gone.
    """
    usual = paths.lock_file(state, config_file)
    if (found := record.read_record(usual)) is not None and found.is_alive:
        return usual
    for file in sorted(paths.locks_directory(state).glob("gateway.*.lock")):
        if _names_gateway_of(file, config_file):
            return file
    data = find_data()
    file = usual if data is None else paths.data_lock_file(data)
    return file if _names_gateway_of(file, config_file) else usual


def requests_base(found: Path, state: Path) -> Path:
    """Return the file next to which the gateway that holds a lock looks for requests: the lock file of its config."""
    if found.parent == paths.locks_directory(state) or (holder := record.read_record(found)) is None:
        return found
    return paths.lock_file(state, Path(holder.configPath))


def find_path_of(descriptor: int, state: Path, config_file: Path) -> Path:
    """Return the path of an open lock file, whatever version named it."""
    held = os.fstat(descriptor)
    for file in paths.locks_directory(state).glob("gateway.*.lock"):
        if os.path.samestat(held, file.lstat()):
            return file
    return paths.lock_file(state, config_file)


def _names_gateway_of(file: Path, config_file: Path) -> bool:
    """Return whether a lock file names a process that was started with this config, or another path of this file."""
    found = record.read_record(file)
    if found is None or not found.is_alive:
        return False
    return found.configPath == str(config_file) or os.path.realpath(found.configPath) == os.path.realpath(config_file)
