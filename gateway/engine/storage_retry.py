"""Writes that have to be made: a disk that refuses is asked again until it takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway import log
from gateway.errors import StorageFull, Unavailable

T = TypeVar("T")

#: what a store raises when the disk refuses, and may take it a little later
REFUSED = (StorageFull, Unavailable)
#: seconds between tries
RETRY = 1.0

_log = log.get()


async def until_taken(write: Callable[[], Awaitable[T]]) -> T:
    """Return what the write returns, once the disk has taken it."""
    while True:
        try:
            return await write()
        except REFUSED as error:
            _log.warning("disk.refuses", error=str(error))
            await asyncio.sleep(RETRY)
