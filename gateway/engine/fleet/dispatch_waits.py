"""Counts how long dispatched runs have waited for a worker."""

from __future__ import annotations

from gateway.domain.fleet import WAIT_BOUNDS_SECONDS, WaitTimes


class DispatchWaits:
    """The waits of the runs that this process has claimed, since its start."""

    def __init__(self) -> None:
        self._counts = [0] * len(WAIT_BOUNDS_SECONDS)
        self._total = 0
        self._seconds = 0.0

    def count_wait(self, seconds: float) -> None:
        """Count one run that has waited for so long."""
        for at, bound in enumerate(WAIT_BOUNDS_SECONDS):
            self._counts[at] += seconds <= bound
        self._total += 1
        self._seconds += seconds

    @property
    def times(self) -> WaitTimes:
        """All waits so far."""
        return WaitTimes(counts=tuple(self._counts), total=self._total, seconds=self._seconds)
