"""Whether work would be accepted now: asked of the disk, but not by every probe anew."""

from __future__ import annotations

import asyncio
import math
import time

from gateway import log
from gateway.engine.engine import Engine
from gateway.errors import GatewayError, StorageFull

#: seconds that an answer of the disk counts
FRESH = 2.0
#: seconds that the disk has to answer
PATIENCE = 5.0

_log = log.get()


class Pulse:
    """Remembers what the disk last said. What it tells has no paths: everyone may ask."""

    def __init__(self) -> None:
        self._at = -math.inf
        self._found = ""
        self._asking = asyncio.Lock()

    async def take(self, engine: Engine) -> str:
        """Return `ok`, or why a write would be refused."""
        async with self._asking:
            if time.monotonic() - self._at >= FRESH:
                self._found = await _ask(engine)
                self._at = time.monotonic()
            return self._found


async def _ask(engine: Engine) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            await engine.check()
    except TimeoutError:
        return f"the disk has not answered for {PATIENCE:g} s."
    except StorageFull:
        return "the disk is full."
    except GatewayError as error:
        _log.warning("store.refuses", error=str(error))
        return "the database cannot be written; the log says why."
    return "ok"
