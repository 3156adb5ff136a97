"""Checks how much the directories of sessions hold."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from cli import output
from cli.doctor.finding import Finding, Level
from gateway.config import Config
from gateway.domain.file import describe_size

#: bytes from which there is a warning, unless unused directories are removed
LARGE_WORKSPACES_BYTES = 5 << 30
#: seconds for measuring; a size that is not complete by then is told as a lower bound
MEASURING_TIMEOUT_SECONDS = 3.0


class DirectorySize(NamedTuple):
    """What a directory holds."""

    size: int
    #: whether counting took too long, so that the size is a lower bound
    is_partial: bool


def examine_workspaces(settings: Config) -> Finding:
    """Report the number and the size of the sessions' directories."""
    place = settings.home / "workspaces"
    try:
        count = sum(entry.is_dir(follow_symlinks=False) for entry in os.scandir(place))
    except OSError:
        return Finding("workspaces", Level.OK, "none yet")
    found = measure_directory(place, MEASURING_TIMEOUT_SECONDS)
    more = "more than " if found.is_partial else ""
    what = "directory" if count == 1 else "directories"
    said = f"{count} {what} of sessions with {more}{describe_size(found.size)} at {output.shorten_home(place)}"
    if found.size < LARGE_WORKSPACES_BYTES or settings.retention.workspaces_days is not None:
        return Finding("workspaces", Level.OK, said)
    cause = "they are kept until their sessions are deleted"
    return Finding("workspaces", Level.WARNING, said, cause, "delete sessions, or set retention.workspaces_days")


def measure_directory(place: Path, seconds: float) -> DirectorySize:
    """Return the size of all files below a directory, as far as they can be counted in that time."""
    until, size = time.monotonic() + seconds, 0
    for directory, _, names in os.walk(place):
        for name in names:
            try:
                size += os.lstat(os.path.join(directory, name)).st_size
            except OSError:  # it was removed in the meantime
                continue
        if time.monotonic() > until:
            return DirectorySize(size, is_partial=True)
    return DirectorySize(size, is_partial=False)
