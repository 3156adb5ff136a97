"""Looks host names up on threads of their own, so that a look-up that hangs delays nothing else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

#: look-ups that run at the same time, at most; one that hangs keeps its slot until it ends
MAX_PARALLEL_LOOKUPS = 32

#: takes a host and a port; returns what `socket.getaddrinfo` returns
LookUpHost = Callable[[str, int], Sequence[Any]]


def look_up_host(host: str, port: int) -> Sequence[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class ThreadResolver(AbstractResolver):
    """Looks each name up on a daemon thread.

    A look-up cannot be cancelled. On a thread of its own, one that hangs delays neither other
    look-ups nor the end of the process. An executor's threads would: the process waits for them.
    """

    def __init__(self, look_up: LookUpHost, slots: asyncio.Semaphore) -> None:
        self._look_up = look_up
        self._slots = slots

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[Any]] = loop.create_future()

        def set_result(addresses: Sequence[Any], error: Exception | None) -> None:
            self._slots.release()
            if found.done():  # nobody waits for it any more
                return
            if error is None:
                found.set_result(addresses)
            else:
                found.set_exception(error)

        def look_up_in_thread() -> None:
            addresses: Sequence[Any] = ()
            failed: Exception | None = None
            try:
                addresses = self._look_up(host, port)
            except (OSError, ValueError) as error:
                failed = error
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(set_result, addresses, failed)

        threading.Thread(target=look_up_in_thread, name="look-up", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in await found
        ]

    async def close(self) -> None: ...
