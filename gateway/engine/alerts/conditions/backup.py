"""The last backup failed, or is too old; it ends when a backup is made."""

from __future__ import annotations

import asyncio

from gateway.backup.status import BackupStatus, read_backup_status
from gateway.domain.alert import AlertKind
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation

#: the subject: there is one plan of backups
BACKUP_SUBJECT = "backup"


class BackupTooOld:
    kind = AlertKind.BACKUP
    interval_seconds = 30.0

    def __init__(self, sources: AlertSources) -> None:
        self._home = sources.home
        self._hours = sources.limits.backup_hours
        #: without any backup, the time counts from here
        self._began = sources.clock()

    async def look(self, situation: Situation) -> Look:
        if self._hours is None:
            return Look(ended=dict.fromkeys(situation.open, "backups are no longer watched"))
        results = await asyncio.to_thread(read_backup_status, self._home)
        trouble = self._find_trouble(results, situation.now, self._hours)
        if trouble:
            return Look(open=[Finding(subject=BACKUP_SUBJECT, text=trouble)])
        if results.last_success is None:
            return Look()
        return Look(ended=dict.fromkeys(situation.open, "a backup was made"))

    def _find_trouble(self, results: BackupStatus, now: int, hours: float) -> str:
        """Return what is wrong; empty if nothing is."""
        success = results.last_success
        if results.failure_since is not None:
            return f"the last backup failed: {results.failure_since.error}"
        age = now - (self._began if success is None else success.at)
        if age <= hours * 3_600_000:
            return ""
        if success is None:
            return "no backup has been made yet"
        return f"the last backup is {age // 3_600_000} h old"


CONDITION = BackupTooOld
