"""Tells how far a backup or a restore is, a few times a second."""

from __future__ import annotations

import time
from collections.abc import Callable

#: seconds between two reports of how far it is
REPORT_INTERVAL_SECONDS = 0.2

#: called with what is done now
Report = Callable[[str], None]


class Progress:
    """Reports how far something is, not more often than people can read."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._reported = 0.0

    def begin(self, doing: str) -> None:
        """Report what is done from now on."""
        self._report(doing)

    def show(self, said: str) -> None:
        """Report how far it is, unless that was done a moment ago."""
        if (now := time.monotonic()) - self._reported >= REPORT_INTERVAL_SECONDS:
            self._reported = now
            self._report(said)
