"""Letting time pass for what runs in the test's event loop, without waiting for it."""

from __future__ import annotations

import asyncio


class Hurry:
    """An event loop's clock that can be set forward.

    A timer that a test sets off so is not a race with the work that has to come first, however short or
    long that takes. What waits then, the test's own deadlines, too, has waited so long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._time = loop.time
        self._ahead = 0.0
        loop.time = self._now  # type: ignore[method-assign]

    def __call__(self, seconds: float) -> None:
        """Let so many seconds pass at once."""
        self._ahead += seconds

    def _now(self) -> float:
        return self._time() + self._ahead
