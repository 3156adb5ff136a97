"""Many runs: counted, or read with few of them in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from gateway.domain.ports.store import Store
from gateway.domain.queue import BackgroundCounts, GatewayCounts
from gateway.domain.run import Run, RunCounts, RunFilter

#: runs, and characters of their text, that are read at once while many are listed
MAX_RUNS_PER_READ, MAX_CHARACTERS_PER_READ = 200, 1 << 20


class RunLists:
    """Reads and counts many runs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def count_runs(self, which: RunFilter) -> RunCounts:
        """Count the runs that a filter matches by status; not all, if there are very many."""
        return await self._store.runs.count(which)

    async def count_background_runs(self) -> BackgroundCounts:
        """Return how many runs of source `background` there are."""
        return await self._store.runs.count_backlog()

    async def count_totals(self, since: int) -> GatewayCounts:
        """Return how many runs there are, and how many ended since then."""
        return await self._store.runs.count_totals(since)

    async def iterate_runs(self, which: RunFilter, limit: int, *, shortened: bool = False) -> AsyncGenerator[Run, None]:
        """Yield the newest runs, oldest first, with few of them in memory.

        Args:
            shortened: whether long texts are shortened, as in `list_runs`.
        """
        async for run in self._iterate_batches(await self._store.runs.list_ids(which, limit), shortened=shortened):
            yield run

    async def iterate_finished_runs(self, label: str, limit: int) -> AsyncGenerator[Run, None]:
        """Yield ended runs that have a label and are not hidden, the last to end first."""
        async for run in self._iterate_batches(await self._store.runs.list_finished_ids(label, limit)):
            yield run

    async def _iterate_batches(self, ids: Sequence[str], *, shortened: bool = False) -> AsyncGenerator[Run, None]:
        while ids:
            count, runs = await self._store.runs.read_batch(
                ids[:MAX_RUNS_PER_READ], MAX_CHARACTERS_PER_READ, shortened=shortened
            )
            for run in runs:
                yield run
            ids = ids[count:]

    async def hide_finished_runs(self, label: str) -> int:
        """Hide the ended runs that have a label from `iterate_finished_runs`. Returns how many it hides."""
        return await self._store.runs.hide_finished(label)
