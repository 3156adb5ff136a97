"""Removes files that nothing refers to, and contents that no file has."""

from __future__ import annotations

import asyncio

from gateway import log
from gateway.domain.ports.file_store import ContentStore
from gateway.domain.ports.store import Store
from gateway.domain.retention import Retention, compute_cutoff
from gateway.domain.times import Clock
from gateway.engine.file_staging import remove_unowned
from gateway.engine.service_loop import ServiceLoop, log_errors

#: seconds between rounds
FILE_SWEEP_SECONDS = 600.0
#: rounds between searches for what crashes have left behind: a day
ROUNDS_BETWEEN_SEARCHES = 144
#: contents that are looked up at once
MAX_CONTENTS_AT_ONCE = 500

_log = log.get()


class FileSweep:
    """The service that removes unused files at intervals; when it starts, and daily, also what crashes left behind."""

    def __init__(self, store: Store, contents: ContentStore, retention: Retention, clock: Clock) -> None:
        self._store = store
        self._contents = contents
        self._days = retention.unused_files_days
        self._clock = clock
        self._rounds = 0
        self._loop = ServiceLoop(
            "files", self._run_round, log_errors("files.sweep_waits"), retry_seconds=FILE_SWEEP_SECONDS
        )

    def start(self) -> None:
        self._loop.start()

    async def stop(self) -> None:
        """Stop removing. Stopping twice is fine."""
        await self._loop.stop()

    async def _run_round(self) -> float:
        if (before := compute_cutoff(self._clock(), self._days)) is not None:
            while hashes := await self._store.files.prune(before):
                await remove_unowned(self._store, self._contents, hashes)
                _log.info("files.removed", files=len(hashes))
        if self._rounds % ROUNDS_BETWEEN_SEARCHES == 0:  # last: where the disk refuses it, the rest is done
            await self._remove_leftovers()
        self._rounds += 1
        return FILE_SWEEP_SECONDS

    async def _remove_leftovers(self) -> None:
        """Remove the drafts of processes that have ended, and contents whose file was never stored."""
        drafts = await asyncio.to_thread(self._contents.remove_abandoned_drafts)
        contents = 0
        groups = self._contents.list_contents()
        while (hashes := await asyncio.to_thread(next, groups, None)) is not None:
            for start in range(0, len(hashes), MAX_CONTENTS_AT_ONCE):
                some = hashes[start : start + MAX_CONTENTS_AT_ONCE]
                contents += await remove_unowned(self._store, self._contents, some)
        if drafts or contents:
            _log.info("files.swept", drafts=drafts, contents=contents)
