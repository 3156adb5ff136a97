"""The last backup failed, or is too old; it ends when a backup is made."""

from __future__ import annotations

import asyncio

from gateway.backup.status import BackupStatus, read_backup_status
from gateway.domain.alert import AlertKind
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation

#: the subject: there is one plan of backups
BACKUP_SUBJECT = "backup"
#: scope and name of the note that keeps since when backups are watched
BACKUP_NOTES_SCOPE, _BEGAN_NOTE = "backup alerts", "watched since"


class BackupTooOld:
    kind = AlertKind.BACKUP
    interval_seconds = 30.0
    needs_news = False

    def __init__(self, sources: AlertSources) -> None:
        self._home = sources.home
        self._hours = sources.limits.backup_hours
        self._notes = sources.store.notes

    async def look(self, situation: Situation) -> Look:
        if self._hours is None:
            return Look(ended=dict.fromkeys(situation.open, "backups are no longer watched"))
        results = await asyncio.to_thread(read_backup_status, self._home)
        success = results.last_success
        since = await self._find_beginning(situation.now) if success is None else success.at
        trouble = _find_trouble(results, situation.now - since, self._hours)
        if trouble:
            return Look(open=[Finding(subject=BACKUP_SUBJECT, text=trouble)])
        if success is None:
            return Look()
        return Look(ended=dict.fromkeys(situation.open, "a backup was made"))

    async def _find_beginning(self, now: int) -> int:
        """Return since when backups are watched; restarts do not count: the time goes on without any backup."""
        kept = await self._notes.get(BACKUP_NOTES_SCOPE, _BEGAN_NOTE)
        began = int(kept) if kept is not None and kept.isdecimal() else None
        if began is None or began > now:  # the clock was set back
            await self._notes.save(BACKUP_NOTES_SCOPE, {_BEGAN_NOTE: str(now)})
            return now
        return began


def _find_trouble(results: BackupStatus, age: int, hours: float) -> str:
    """Return what is wrong; empty if nothing is.

    Args:
        age: milliseconds since the last backup, or since backups are watched.
    """
    if results.failure_since is not None:
        return f"the last backup failed: {results.failure_since.error}"
    if age <= hours * 3_600_000:
        return ""
    if results.last_success is None:
        return "no backup has been made yet"
    return f"the last backup is {age // 3_600_000} h old"


CONDITION = BackupTooOld
