"""Checks whether the gateway would accept work now. Probes within two seconds share one check of the disk."""

from __future__ import annotations

import asyncio
import math
import time

from gateway import log
from gateway.engine.engine import Engine
from gateway.errors import GatewayError, StorageFull

#: seconds that a result is reused
FRESH = 2.0
#: seconds that a check may take
PATIENCE = 5.0

_log = log.get()


class Pulse:
    """Checks the storage and keeps the last result. The result names no paths, because probes need no token."""

    def __init__(self) -> None:
        self._at = -math.inf
        self._found = ""
        self._asking = asyncio.Lock()

    async def take(self, engine: Engine) -> str:
        """Return `ok`, or why a write would fail."""
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
