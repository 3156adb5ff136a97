"""The disk with the data, or with the state directory, has little room left; it ends when there is room again."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from gateway.domain.alert import AlertKind
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation

#: how much more than the limit must be free before the condition ends: it must not come and go all the time
ROOM_AGAIN_FACTOR = 1.2


class DiskLow:
    kind = AlertKind.DISK
    interval_seconds = 30.0
    needs_news = False

    def __init__(self, sources: AlertSources) -> None:
        self._directories = {"data": sources.data_directory, "state": sources.home}
        self._limit = sources.limits.disk_free_mb * 1_000_000
        #: the measurement under way: a disk that does not answer holds one thread, and not one more at each look
        self._measuring: asyncio.Future[dict[str, int]] | None = None

    async def look(self, situation: Situation) -> Look:
        findings, ended = [], {}
        for subject, free in (await self._measure()).items():
            if free < self._limit:
                text = f"the disk of the {subject} directory has {free // 1_000_000} MB left"
                findings.append(Finding(subject=subject, text=text))
            elif subject in situation.open and free >= self._limit * ROOM_AGAIN_FACTOR:
                ended[subject] = f"the disk of the {subject} directory has room again: {free // 1_000_000} MB"
        return Look(open=findings, ended=ended)

    async def _measure(self) -> dict[str, int]:
        measuring = self._measuring or asyncio.ensure_future(asyncio.to_thread(_measure_disks, self._directories))
        self._measuring = measuring
        try:
            return await asyncio.shield(measuring)
        finally:
            if measuring.done():
                self._measuring = None


def _measure_disks(directories: dict[str, Path]) -> dict[str, int]:
    """Return the free bytes of the disks of some directories; one disk is measured once, under the first name."""
    free: dict[int, tuple[str, int]] = {}
    for name, directory in directories.items():
        try:
            device, left = os.stat(directory).st_dev, shutil.disk_usage(directory).free
        except OSError:  # it is gone, or not there yet: others say so
            continue
        free.setdefault(device, (name, left))
    return dict(free.values())


CONDITION = DiskLow
