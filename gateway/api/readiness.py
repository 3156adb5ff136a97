"""Checks whether the gateway would accept work now. Probes within two seconds share one check of the disk."""

from __future__ import annotations

import asyncio
import math
import time

from gateway import log
from gateway.engine.engine import Engine
from gateway.errors import GatewayError, StorageFull

#: seconds that a result is reused
STORAGE_ANSWER_LIFETIME_SECONDS = 2.0
#: seconds that a check may take
STORAGE_CHECK_TIMEOUT_SECONDS = 5.0

_log = log.get()


class StorageCheck:
    """Checks the storage and keeps the last result. The result names no paths, because probes need no token."""

    def __init__(self) -> None:
        self._at = -math.inf
        self._found = ""
        self._asking = asyncio.Lock()

    async def check_storage(self, engine: Engine) -> str:
        """Return `ok`, or why a write would fail."""
        async with self._asking:
            if time.monotonic() - self._at >= STORAGE_ANSWER_LIFETIME_SECONDS:
                self._found = await _ask_storage(engine)
                self._at = time.monotonic()
            return self._found


async def _ask_storage(engine: Engine) -> str:
    try:
        async with asyncio.timeout(STORAGE_CHECK_TIMEOUT_SECONDS):
            await engine.check_writable()
    except TimeoutError:
        return f"the disk has not answered for {STORAGE_CHECK_TIMEOUT_SECONDS:g} s."
    except StorageFull:
        return "the disk is full."
    except GatewayError as error:
        _log.warning("store.refuses", error=str(error))
        return "the database cannot be written; the log says why."
    return "ok"
