"""Settles a restored database before a gateway opens it: it is migrated, and nothing in it is done a second time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from gateway.backup.manifest import BackupHeader
from gateway.domain.audit import AuditAction, AuditNote
from gateway.errors import Conflict
from gateway.store.sqlite import copies, snapshot
from gateway.store.sqlite.store import SqliteStore


class SettledWork(NamedTuple):
    """What became of the open work in a restored database."""

    #: runs and deliveries that were ended, and schedules whose missed times are skipped
    ended_runs: int = 0
    given_up_deliveries: int = 0
    skipped_schedules: int = 0


def settle_database(path: Path, header: BackupHeader, *, resume: bool, fire_missed: bool) -> SettledWork:
    """Migrate a restored database, and settle its open work.

    Args:
        resume: whether open runs and deliveries go on.
        fire_missed: whether schedules fire the times that they missed since the backup.

    Raises:
        Conflict: the database is damaged.
        ConfigError: it cannot be used.
    """
    if (wrong := snapshot.check_integrity(path)) is not None:
        raise Conflict(f"the database of the backup is damaged: {wrong}.", remedy="Use another backup.")
    settled = asyncio.run(_settle(path, header, resume=resume, fire_missed=fire_missed))
    for copy in copies.list_before_migration(path).values():  # the backup itself is that copy
        with contextlib.suppress(OSError):
            copy.unlink()
    return settled


async def _settle(path: Path, header: BackupHeader, *, resume: bool, fire_missed: bool) -> SettledWork:
    made = datetime.fromtimestamp(header.created_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    store = SqliteStore(path)
    try:
        recovery = store.recovery
        await recovery.forget_processes()
        runs = sent = 0
        if resume:
            await _repeat(lambda: recovery.requeue_running(f"it was running in the backup of {made}"))
        else:
            since = f"the backup of {made} was restored, whose gateway worked on, and may have"
            runs = await _repeat(lambda: recovery.end_open_runs(f"not run here: {since} run it; retry it if not."))
            sent = await _repeat(lambda: recovery.give_up_deliveries(f"not sent: {since} sent it; retry it if not"))
            await recovery.give_up_alerts(f"not sent: {since} sent it")
        skipped = 0 if fire_missed else await _repeat(recovery.skip_missed_times)
        details = {"made": made, "host": header.host, "version": header.version}
        await store.audit.add([AuditNote(action=AuditAction.DATA_RESTORED, target="backup", details=details)])
        return SettledWork(runs, sent, skipped)
    finally:
        await store.close()


async def _repeat(step: Callable[[], Awaitable[int]]) -> int:
    """Take a step until it finds nothing more to do. Returns how much that was."""
    total = 0
    while done := await step():
        total += done
    return total
