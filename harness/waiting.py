"""Waiting for something that cannot tell by itself that it has happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: seconds after which a wait is a failed test: many times what it takes, also where all is slow
PATIENCE = 60.0


async def until(condition: Callable[[], object], what: str, within: float = PATIENCE) -> None:
    """Return as soon as the condition holds.

    Raises:
        AssertionError: it did not within so many seconds.
    """
    try:
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited {within} s in vain until {what}") from None


def until_sync(condition: Callable[[], object], what: str = "it holds", within: float = PATIENCE) -> None:
    """Return as soon as the condition holds; for tests without an event loop.

    Raises:
        AssertionError: it did not within so many seconds.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within} s in vain until {what}")
        time.sleep(0.02)
