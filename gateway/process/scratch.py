"""Directories for temporary files of programs, which leave them behind when they are killed.

Programs that are built with Bun, such as opencode, unpack a library of some megabytes each time they
start. A directory's name says which process of ours it belongs to: what a dead one has left is
cleared by the next.
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
    """Makes directories in one place, each for one program. All of it blocks."""

    def __init__(self, place: Path, prefix: str = "") -> None:
        """Args: prefix: the beginning of the names, for a place that others use too."""
        self._place = place
        self._prefix = prefix

    def make_directory(self) -> str:
        """Make a directory that nobody else can read, and return its path."""
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
    """Remove a directory; what cannot be removed stays."""
    shutil.rmtree(directory, ignore_errors=True)


def _is_abandoned(name: str) -> bool:
    try:
        return not identity.is_alive(Identity.parse_identity(name.rpartition("_")[0].replace("_", "/", 2)))
    except ValueError:
        return False
