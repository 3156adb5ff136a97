"""Host names are looked up on threads of their own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.outbound.resolver import ThreadResolver
from harness.waiting import PATIENCE


def found(host: str, port: int) -> Sequence[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port))]


def unknown(host: str, port: int) -> Sequence[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_a_name_is_resolved_to_its_addresses() -> None:
    resolver = ThreadResolver(found, asyncio.Semaphore(1))
    (only,) = await resolver.resolve("fine.example", 443)
    assert (only["hostname"], only["host"], only["port"]) == ("fine.example", "192.0.2.7", 443)


async def test_a_look_up_that_fails_raises_its_error_and_frees_its_slot() -> None:
    slots = asyncio.Semaphore(1)
    resolver = ThreadResolver(unknown, slots)
    with pytest.raises(socket.gaierror):
        await resolver.resolve("nobody.example", 443)
    assert not slots.locked()


async def test_a_look_up_that_nobody_waits_for_any_more_frees_its_slot_at_its_end() -> None:
    slots = asyncio.Semaphore(1)
    loop, begun, may_end = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def look_up(host: str, port: int) -> Sequence[Any]:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait()
        return found(host, port)

    waiting = asyncio.create_task(ThreadResolver(look_up, slots).resolve("slow.example", 443))
    await begun.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    held = slots.locked()
    may_end.set()

    async with asyncio.timeout(PATIENCE):
        await slots.acquire()
    assert (waiting.cancelled(), held) == (True, True)
