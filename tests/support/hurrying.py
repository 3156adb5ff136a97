"""Lets time pass in the test's event loop without waiting."""

from __future__ import annotations

import asyncio


class Hurry:
    """An event loop's clock that a test can set forward.

    So a timer does not race with work that must come first, however long that work takes. All waits in the
    loop, including the test's own deadlines, see the new time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._time = loop.time
        self._ahead = 0.0
        loop.time = self._now  # type: ignore[method-assign]

    def __call__(self, seconds: float) -> None:
        """Let `seconds` seconds pass at once."""
        self._ahead += seconds

    def _now(self) -> float:
        return self._time() + self._ahead
