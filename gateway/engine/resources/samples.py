"""Samples, as plots show them: some points of a time range."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.ports.store import Store
from gateway.domain.sample import SAMPLE_LIFETIME_MILLISECONDS, Sample, choose_step
from gateway.domain.times import Clock


class Samples:
    """How the gateway was doing."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def read_points(self, since: int, until: int, points: int) -> tuple[int, Sequence[Sample]]:
        """Return the milliseconds of one point, and the points of a time range, oldest first.

        A time without samples has no point. What is older than samples are kept is left out.

        Args:
            points: the most points to return; two or more.
        """
        step = choose_step(since, until, points)
        since = max(since, self._clock() - SAMPLE_LIFETIME_MILLISECONDS)
        return step, await self._store.samples.list(since, until, step)
