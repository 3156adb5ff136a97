"""The last results of backups, in a file of the state directory.

Standard library only, so that `gateway status` is quick.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from gateway import private_file
from gateway.domain.times import wall_clock

_MAX_STATUS_BYTES = 64 * 1024
#: characters of an error that are kept
_MAX_ERROR_CHARACTERS = 500


class BackupSuccess(NamedTuple):
    """The last backup that was made."""

    #: when it was complete, in milliseconds since 1970 UTC
    at: int
    #: path of the file
    file: str
    bytes: int
    #: how many files it lacks because they are damaged or could not be read
    lost: int = 0


class BackupFailure(NamedTuple):
    """The last backup that failed."""

    at: int
    error: str


class BackupStatus(NamedTuple):
    """What became of the last backups."""

    last_success: BackupSuccess | None = None
    last_failure: BackupFailure | None = None
    #: id of this installation, which stands in its backups; empty before the first one
    installation: str = ""

    @property
    def failure_since(self) -> BackupFailure | None:
        """The last failure, if no backup was made after it."""
        failure, success = self.last_failure, self.last_success
        return failure if failure is not None and (success is None or success.at < failure.at) else None


def backup_status_file(home: Path) -> Path:
    return home / "backup-status.json"


def read_backup_status(home: Path) -> BackupStatus:
    """Return the last results; none if there are none, or if the file cannot be read."""
    try:
        told = json.loads(private_file.read_private_file(backup_status_file(home), _MAX_STATUS_BYTES))
        return BackupStatus(
            _decode_entry(BackupSuccess, told.get("last_success")),
            _decode_entry(BackupFailure, told.get("last_failure")),
            str(told.get("installation") or ""),
        )
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return BackupStatus()


def identify_installation(home: Path) -> str:
    """Return the id of an installation, which gets one now if it has none; empty if that cannot be written."""
    found = read_backup_status(home)
    if not found.installation:
        _write_status(home, found._replace(installation=os.urandom(8).hex()))
    return read_backup_status(home).installation


def record_success(home: Path, file: Path, size: int, lost: int = 0) -> None:
    """Record a backup that was made now. If that cannot be written, the backup is none the worse."""
    success = BackupSuccess(wall_clock(), str(file), size, lost)
    _write_status(home, read_backup_status(home)._replace(last_success=success))


def record_failure(home: Path, error: str) -> None:
    """Record a backup that failed now."""
    failure = BackupFailure(wall_clock(), error[:_MAX_ERROR_CHARACTERS])
    _write_status(home, read_backup_status(home)._replace(last_failure=failure))


def _write_status(home: Path, status: BackupStatus) -> None:
    told = {
        name: entry._asdict() if isinstance(entry, BackupSuccess | BackupFailure) else entry
        for name, entry in status._asdict().items()
    }
    with contextlib.suppress(OSError):
        private_file.replace_private_file(backup_status_file(home), json.dumps(told).encode())


def _decode_entry(kind: Any, told: Any) -> Any:
    if told is None:
        return None
    return kind(**{name: told[name] for name in kind._fields if name in told or name not in kind._field_defaults})
