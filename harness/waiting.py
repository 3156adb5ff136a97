"""Waits for a condition by polling."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: seconds after which a wait fails: many times as long as necessary, also on a slow machine
PATIENCE = 60.0


async def until(condition: Callable[[], object], what: str, within: float = PATIENCE) -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: it did not hold within `within` seconds.
    """
    try:
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {within} s: {what}") from None


def until_sync(condition: Callable[[], object], what: str = "it holds", within: float = PATIENCE) -> None:
    """Wait until the condition holds; for tests without an event loop.

    Raises:
        AssertionError: it did not hold within `within` seconds.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.02)
