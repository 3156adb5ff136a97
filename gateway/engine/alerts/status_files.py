"""Files of the state directory in which backups and updates say how they went."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

#: bytes of such a file that are read; a longer one is none
MAX_STATUS_FILE_BYTES = 64 << 10

T = TypeVar("T")


class BackupSuccess(Struct, frozen=True):
    #: milliseconds since 1970 UTC
    at: int


class BackupFailure(Struct, frozen=True):
    #: milliseconds since 1970 UTC
    at: int
    error: str = "the log says why"


class BackupResults(Struct, frozen=True):
    """How the last backups went."""

    last_success: BackupSuccess | None = None
    last_failure: BackupFailure | None = None


class _KnownReleases(Struct, frozen=True):
    latest: str | None = None


def read_backup_results(home: Path) -> BackupResults:
    """Return how the last backups went; of a file that is missing or cannot be read, nothing is known."""
    return _read_status(home / "backup-status.json", BackupResults) or BackupResults()


def read_latest_version(home: Path) -> str | None:
    """Return the newest version that is known, or None if none is."""
    found = _read_status(home / "update-status.json", _KnownReleases)
    return found.latest if found is not None else None


def _read_status(file: Path, kind: type[T]) -> T | None:
    try:
        with file.open("rb") as opened:
            return msgspec.json.decode(opened.read(MAX_STATUS_FILE_BYTES), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
