"""Directories for temporary files of programs; a killed program leaves its files behind.

Programs built with Bun, such as opencode, unpack a library of some megabytes at each start. A
directory's name says which process of ours it belongs to; the next process removes directories of dead ones.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from gateway.process import identity
from gateway.process.identity import Identity


class ScratchSpace:
    """Makes directories in one place, each for one program. All methods block."""

    def __init__(self, place: Path, prefix: str = "") -> None:
        """Args: prefix: beginning of the directory names, for a place that other programs use, too."""
        self._place = place
        self._prefix = prefix

    def make_directory(self) -> str:
        """Make a directory that only its owner can read, and return its path."""
        owner = str(identity.own_identity()).replace("/", "_")
        made = self._place / f"{self._prefix}{owner}_{secrets.token_hex(8)}"
        made.mkdir(mode=0o700, parents=True)
        return str(made)

    def clear_abandoned(self) -> None:
        """Remove the directories of processes that are gone."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._place):
                if name.startswith(self._prefix) and _is_abandoned(name.removeprefix(self._prefix)):
                    clear_directory(str(self._place / name))


def clear_directory(directory: str) -> None:
    """Remove a directory; files that cannot be removed stay."""
    shutil.rmtree(directory, ignore_errors=True)


def _is_abandoned(name: str) -> bool:
    try:
        return not identity.is_alive(Identity.parse_identity(name.rpartition("_")[0].replace("_", "/", 2)))
    except ValueError:
        return False
