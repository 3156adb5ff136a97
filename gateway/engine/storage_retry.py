"""Writes that must not be lost: they are retried until the disk accepts them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway import log
from gateway.errors import StorageFull, Unavailable

T = TypeVar("T")

#: what a store raises when the disk refuses a write that it may accept a little later
RETRYABLE_STORAGE_ERRORS = (StorageFull, Unavailable)
#: seconds between attempts
STORAGE_RETRY_SECONDS = 1.0

_log = log.get()


async def until_stored(write: Callable[[], Awaitable[T]]) -> T:
    """Repeat a write until the disk accepts it, and return its result."""
    while True:
        try:
            return await write()
        except RETRYABLE_STORAGE_ERRORS as error:
            _log.warning("disk.refuses", error=str(error))
            await asyncio.sleep(STORAGE_RETRY_SECONDS)
