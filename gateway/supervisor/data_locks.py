"""One gateway per data directory: of two gateways on one directory, each would treat the other's runs as lost.

The supervisor holds the lock, so that its generations, which take over from each other, share it.
A directory is held until the gateway ends: a generation that drains may still use it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gateway import paths
from gateway.config import Config
from gateway.errors import AlreadyRunning
from gateway.supervisor import lock, record
from gateway.supervisor.lock import Lock
from gateway.supervisor.record import Record


class DataLocks:
    """The data directories that this gateway holds."""

    def __init__(self, kept: Mapping[str, int]) -> None:
        """Args:
        kept: descriptors by directory, kept over a re-execution.
        """
        for descriptor in kept.values():
            os.set_inheritable(descriptor, False)
        self._held = {
            directory: Lock(paths.data_lock_file(Path(directory)), descriptor, descriptor)
            for directory, descriptor in kept.items()
        }
        self._mine: Record | None = None

    def lock_directory(self, settings: Config) -> None:
        """Lock the data directory of the settings; do nothing if it is locked already.

        Raises:
            AlreadyRunning: another gateway holds it.
            ConfigError: the lock file cannot be made there.
        """
        directory = settings.data_directory
        key = os.path.realpath(directory)
        if key in self._held:
            return
        file = paths.data_lock_file(directory)
        with settings.name_origins("data.directory"):
            taken = lock.try_lock(file)
        if taken is None:
            raise _in_use_error(directory, record.read_record(file))
        self._held[key] = taken
        if self._mine is not None:
            taken.write_record(self._mine)

    def write_records(self, mine: Record) -> None:
        """Write the holder's record into the lock files."""
        self._mine = mine
        for held in self._held.values():
            held.write_record(mine)

    def make_inheritable(self) -> dict[str, int]:
        """Make the descriptors inheritable for a re-execution, and return them by directory."""
        for held in self._held.values():
            os.set_inheritable(held.descriptor, True)
        return {directory: held.descriptor for directory, held in self._held.items()}

    def release_all(self) -> None:
        for held in self._held.values():
            held.release()


def _in_use_error(directory: Path, holder: Record | None) -> AlreadyRunning:
    other = "Set data.directory to another place"
    if holder is None or not holder.is_alive:
        return AlreadyRunning(
            f"the data directory {directory} is in use by another gateway, or by gateway migrate.", remedy=f"{other}."
        )
    return AlreadyRunning(
        f"the data directory {directory} is in use by the gateway of {holder.configPath}"
        f" (pid {holder.pid}, port {holder.port}).",
        remedy=f"{other}, or end that gateway: gateway stop --config {holder.configPath}",
    )
