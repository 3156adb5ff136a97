"""The backups of a directory, by their names: which there are, and which are old."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gateway.backup.writing import NAME_PREFIX, NAME_SUFFIX

#: the names that backups get in a directory
_BACKUP_NAME = re.compile(
    rf"^{re.escape(NAME_PREFIX)}(?P<host>.+)-(?P<at>\d{{8}}T\d{{6}}Z){re.escape(NAME_SUFFIX)}$(?!\n)"
)


def list_backups(directory: Path, host: str | None = None) -> Sequence[Path]:
    """Return the backups that were made in a directory, the newest first.

    Args:
        host: only those of this machine, by the name in theirs.
    """
    found: list[tuple[str, Path]] = []
    with contextlib.suppress(OSError):
        for file in directory.iterdir():
            named = _BACKUP_NAME.match(file.name)
            if named is not None and host in (None, named["host"]) and file.is_file():
                found.append((named["at"], file))
    return [file for _, file in sorted(found, reverse=True)]


def read_moment(file: Path) -> int | None:
    """Return when a backup was made, by its name, in milliseconds since 1970 UTC; None if that tells no time."""
    named = _BACKUP_NAME.match(file.name)
    if named is None:
        return None
    try:
        return int(datetime.strptime(named["at"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None


def remove_old_backups(directory: Path, host: str, keep: int, newest: Path) -> Sequence[Path]:
    """Remove all backups of a machine but the newest ones. Returns those that were removed.

    Args:
        newest: the one that was just made, which stays, whatever the clock says.
    """
    removed = []
    others = [file for file in list_backups(directory, host) if file != newest]
    for file in others[keep - 1 :]:
        with contextlib.suppress(OSError):
            file.unlink()
            removed.append(file)
    return removed
