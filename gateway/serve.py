"""One serving process: listens on a given socket, says when it is ready, and drains when told.

A supervisor hands it the socket and hears of its readiness; without one, `python -m gateway` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from gateway import app, log
from gateway.api.routing import Surroundings
from gateway.api.server import Server
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.engine.owner import Owner

_log = log.get()

Ready = Callable[[Surroundings], Coroutine[Any, Any, None]]


async def serve(config: Config, agents: Sequence[Agent], listener: socket.socket, owner: Owner, ready: Ready) -> None:
    """Serve until SIGTERM or SIGINT, then drain: a second one cuts the grace short.

    Args:
        agents: as `app.check` returned them.
        listener: bound and not yet listened on by anyone else here; stays the caller's to close.
        ready: awaited once requests are answered.

    Raises:
        ConfigError: the database cannot be used.
    """
    signals: asyncio.Queue[int] = asyncio.Queue()
    async with app.opened(config, agents, owner) as around:
        server = Server(around)
        await server.open(listener)
        with _signals_to(signals):
            _log.info("gateway.ready", instance=owner.instance, port=listener.getsockname()[1])
            announcing = asyncio.create_task(ready(around), name="ready")
            received = await signals.get()
            announcing.cancel()
            _log.info("gateway.stopping", signal=signal.Signals(received).name)
            listener.close()
            hurry = asyncio.create_task(_cut_at_second(signals, around), name="hurry")
            await server.close(config.gateway.stop_grace, around.engine.drain)
            hurry.cancel()
    _log.info("gateway.stopped")


async def _cut_at_second(signals: asyncio.Queue[int], around: Surroundings) -> None:
    await signals.get()
    around.engine.hurry()


@contextlib.contextmanager
def _signals_to(queue: asyncio.Queue[int]) -> Iterator[None]:
    """Have SIGTERM and SIGINT put on a queue, and nothing else done about them."""
    loop = asyncio.get_running_loop()
    put: Callable[[int, object], object] = lambda number, _: loop.call_soon_threadsafe(queue.put_nowait, number)  # noqa: E731
    before = {number: signal.signal(number, put) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
