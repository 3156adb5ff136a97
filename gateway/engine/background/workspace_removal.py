"""Removes the directories of sessions that nobody uses any more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from pathlib import Path

from gateway import log
from gateway.domain.ports.store import Store
from gateway.domain.retention import Retention, compute_cutoff
from gateway.domain.times import Clock
from gateway.engine.service_loop import ServiceLoop, log_errors

#: seconds between rounds, if nothing wakes the service before
WORKSPACE_ROUND_SECONDS = 600.0
#: the same while an agent still works in a directory that is to be removed: its end wakes nobody if the session goes on
IN_USE_ROUND_SECONDS = 5.0

_log = log.get()


class WorkspaceRemoval:
    """The service that removes released workspaces: those of ended sessions soon, unused ones at intervals."""

    def __init__(self, store: Store, retention: Retention, directory: Path, clock: Clock) -> None:
        """Args:
        directory: where the workspaces are.
        """
        self._store = store
        self._days = retention.workspaces_days
        self._directory = directory
        self._clock = clock
        #: when those that could not be removed are tried again, by their names, on the clock of `time.monotonic`
        self._retries: dict[str, float] = {}
        self._loop = ServiceLoop(
            "workspaces",
            self._remove_released,
            log_errors("workspaces.waits"),
            retry_seconds=WORKSPACE_ROUND_SECONDS,
        )

    def start(self) -> None:
        self._loop.start()

    def wake(self) -> None:
        """Remove soon what was released."""
        self._loop.wake()

    async def stop(self) -> None:
        """Stop removing. Stopping twice is fine."""
        await self._loop.stop()

    async def _remove_released(self) -> float:
        if (before := compute_cutoff(self._clock(), self._days)) is not None:
            while await self._store.workspaces.release_unused(before):
                pass
        last, seconds, now = "", WORKSPACE_ROUND_SECONDS, time.monotonic()
        self._retries = {name: due for name, due in self._retries.items() if due > now}
        while found := await self._store.workspaces.list_released(last):
            free = [one.name for one in found if not one.in_use and one.name not in self._retries]
            removed = [name for name in free if await asyncio.to_thread(_remove_directory, self._directory / name)]
            if removed:
                await self._store.workspaces.forget(removed)
                _log.info("workspaces.removed", count=len(removed))
            self._retries |= dict.fromkeys(set(free).difference(removed), now + WORKSPACE_ROUND_SECONDS)
            if any(one.in_use for one in found):
                seconds = IN_USE_ROUND_SECONDS
            last = found[-1].name
        return seconds


def _remove_directory(place: Path) -> bool:
    """Remove a directory with all that is in it, and return whether it is gone. Links in it are not followed."""
    shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):
        _make_writable(place)
    try:
        shutil.rmtree(place)
    except FileNotFoundError:
        return True
    except OSError as error:
        _log.warning("workspaces.cannot_remove", directory=str(place), error=str(error))
        return False
    return True


def _make_writable(place: Path) -> None:
    """Let the owner remove what is in the directories below: tools leave read-only ones."""
    os.chmod(place, 0o700)
    for directory, names, _ in os.walk(place):
        for below in (os.path.join(directory, name) for name in names):
            if not os.path.islink(below):
                os.chmod(below, 0o700)
