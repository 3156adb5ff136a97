"""What `/health` tells of backups."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from gateway.backup.status import BackupStatus, read_backup_status
from gateway.config import Config
from gateway.domain.times import format_rfc3339

#: seconds that the last results are reused
BACKUP_ANSWER_LIFETIME_SECONDS = 1.0


class BackupHealth(Struct, frozen=True, kw_only=True):
    """The last results of backups."""

    #: when the last one was made; null if none was
    last_success_at: str | None
    #: path of its file
    file: str | None
    #: size of that file
    bytes: int | None
    #: how many files it lacks because they are damaged or could not be read; null if none was made
    lost: int | None
    #: when the last one failed, if none was made since
    last_failure_at: str | None
    #: why it failed
    error: str | None


class LastBackups:
    """Reads the last results, and keeps them for a moment: many callers without a token cost one look at the disk.

    The event loop does not wait for the disk.
    """

    def __init__(self) -> None:
        self._at = -math.inf
        self._found = BackupStatus()
        self._reading = asyncio.Lock()

    async def read(self, home: Path, *, is_kept_enough: bool = False) -> BackupStatus:
        """Return the last results.

        Args:
            is_kept_enough: whether those that were read a moment ago will do.
        """
        async with self._reading:
            if not is_kept_enough or time.monotonic() - self._at >= BACKUP_ANSWER_LIFETIME_SECONDS:
                self._found = await asyncio.to_thread(read_backup_status, home)
                self._at = time.monotonic()
            return self._found


def describe_backups(config: Config, found: BackupStatus) -> BackupHealth | UnsetType:
    """Return the last results; nothing if none was ever made or planned."""
    success, failure = found.last_success, found.failure_since
    if success is None and failure is None and config.backup.every is None:
        return UNSET
    return BackupHealth(
        last_success_at=None if success is None else format_rfc3339(success.at),
        file=None if success is None else success.file,
        bytes=None if success is None else success.bytes,
        lost=None if success is None else success.lost,
        last_failure_at=None if failure is None else format_rfc3339(failure.at),
        error=None if failure is None else failure.error,
    )


def check_backups(config: Config, found: BackupStatus) -> dict[str, str]:
    """Return the check `backup` if the gateway makes backups by itself, and the last one failed."""
    failure = found.failure_since if config.backup.every is not None else None
    return {} if failure is None else {"backup": f"the last backup failed: {failure.error}"}


def add_backup_metrics(registry: Any, found: BackupStatus) -> None:
    """Add when the last backup was made, if one was."""
    from prometheus_client import Gauge  # late: see gateway.api.metrics

    if found.last_success is not None:
        made = Gauge(
            "moongate_backup_last_success_timestamp_seconds", "When the last backup was made.", registry=registry
        )
        made.set(found.last_success.at / 1000)
