"""The backups of a directory: which there are, and which of a plan are old.

Names tell machine and time. Whose plan made one is in it: several installations may use one directory, and what
somebody made by hand, or an update made, is never old.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from gateway.backup import reading, writing
from gateway.backup.manifest import Purpose
from gateway.backup.writing import NAME_PREFIX, NAME_SUFFIX
from gateway.errors import GatewayError

#: the names that backups get in a directory
_BACKUP_NAME = re.compile(
    rf"^{re.escape(NAME_PREFIX)}(?P<host>.+)-(?P<at>\d{{8}}T\d{{6}}Z){re.escape(NAME_SUFFIX)}$(?!\n)"
)


def list_backups(directory: Path, host: str | None = None) -> Sequence[Path]:
    """Return the files with names of backups in a directory, the newest first.

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


def list_planned_backups(directory: Path, installation: str) -> Iterator[Path]:
    """Yield the backups that the plan of an installation has made on this machine, the newest first."""
    for file in list_backups(directory, writing.name_host()) if installation else ():
        with contextlib.suppress(GatewayError), reading.open_backup(file) as reader:
            header = reader.read_header()
            if header.purpose is Purpose.PLAN and header.installation == installation:
                yield file


def remove_old_backups(directory: Path, installation: str, keep: int, newest: Path) -> Sequence[Path]:
    """Remove all backups of a plan but the newest ones. Returns those that were removed.

    Args:
        newest: the one that was just made, which stays, whatever the clock says.
    """
    removed = []
    others = [file for file in list_planned_backups(directory, installation) if file != newest]
    for file in others[keep - 1 :]:
        with contextlib.suppress(OSError):
            file.unlink()
            removed.append(file)
    return removed
