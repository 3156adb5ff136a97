"""Many readers of one stream who mostly wait."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench import measure, servers
from bench.measure import Sample
from bench.report import Figure, Result, Row

READERS = 5000
#: readers that connect at once
ABREAST = 100
#: seconds that all readers may take to be reached
PATIENCE = 60.0


def run(quick: bool) -> Result:
    readers, rounds, count = (50, 2, 1) if quick else (READERS, 15, 3)
    with tempfile.TemporaryDirectory() as place:
        pairs = [_pair(Path(place) / str(number), readers, rounds) for number in range(count)]
    bytes_ = Sample.of(ours.bytes / max(theirs.bytes, 1.0) for ours, theirs in pairs)
    times = Sample.of(ours.time / theirs.time for ours, theirs in pairs)
    ours, theirs = (
        _Side(Sample.of(one.bytes for one in side).median, Sample.of(one.time for one in side).median)
        for side in zip(*pairs, strict=True)
    )
    return Result(
        figures=[
            Figure(name="idle SSE readers / bare aiohttp: memory each", sample=bytes_, unit="x", reach=1.5),
            Figure(name="a change to all SSE readers / bare write loop", sample=times, unit="x", reach=1.2),
        ],
        notes=[
            f"gateway: {ours.bytes / 1024:.1f} KiB a reader, a change reaches all in {ours.time * 1000:.0f} ms;"
            f" bare aiohttp: {theirs.bytes / 1024:.1f} KiB, {theirs.time * 1000:.0f} ms; {readers} readers,"
            f" {count} pairs of fresh processes.",
            "The gateway's time begins with the request that causes the change, and has its commit in it.",
        ],
    )


class _Side:
    def __init__(self, bytes_: float, time_: float) -> None:
        #: of memory a reader
        self.bytes = bytes_
        #: seconds until the last reader has one change
        self.time = time_


def _pair(home: Path, readers: int, rounds: int) -> tuple[_Side, _Side]:
    settings = {"limits": {"queue": 100_000_000, "connections": readers + 100}}
    with servers.gateway(home, settings) as ours:
        mine = asyncio.run(_measured(ours, "/api/events", "/api/sessions", readers, rounds))
    with servers.bare("aiohttp_events") as theirs:
        other = asyncio.run(_measured(theirs, "/events", "/tell", readers, rounds))
    return mine, other


async def _measured(server: servers.Server, path: str, cause: str, readers: int, rounds: int) -> _Side:
    """Connect all readers, then cause changes one after the other.

    Args:
        cause: path of the POST that makes one change.
    """
    tally = _Tally()
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {servers.TOKEN}\r\n\r\n"
    await asyncio.to_thread(server.exchange, server.post(cause, _fresh(0)))
    before = measure.memory(server.pid)
    transports = await _connected(server.port, tally, head.encode(), readers)
    await asyncio.sleep(0.5)
    bytes_ = (measure.memory(server.pid) - before) * 1024 * 1024 / readers
    taken = []
    for number in range(1, rounds + 1):
        began = time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            telling = asyncio.to_thread(server.exchange, server.post(cause, _fresh(number)))
            await asyncio.gather(telling, tally.reached(b"data: ", readers * number))
        taken.append(tally.at - began)
    for transport in transports:
        transport.abort()
    return _Side(bytes_, Sample.of(taken).median)


async def _connected(port: int, tally: _Tally, request: bytes, readers: int) -> list[asyncio.BaseTransport]:
    transports: list[asyncio.BaseTransport] = []
    loop = asyncio.get_running_loop()
    while len(transports) < readers:
        some = min(ABREAST, readers - len(transports))
        made = (loop.create_connection(lambda: _Reader(tally, request), "127.0.0.1", port) for _ in range(some))
        transports += [transport for transport, _ in await asyncio.gather(*made)]
        async with asyncio.timeout(PATIENCE):
            await tally.reached(b"HTTP/1.1 200", len(transports))
    return transports


def _fresh(number: int) -> dict[str, str]:
    """Return a body with which a session is made that there was not."""
    return {"chat_id": f"chat-{number}"}


class _Tally:
    """Counts what all readers have, and notes when the last one had it."""

    def __init__(self) -> None:
        self.counts = {b"HTTP/1.1 200": 0, b"data: ": 0}
        #: when the number that is waited for was reached
        self.at = 0.0
        self._waits: tuple[bytes, int, asyncio.Future[None]] | None = None

    def take(self, data: bytes) -> None:
        for what in self.counts:
            self.counts[what] += data.count(what)
        if self._waits is not None:
            what, number, future = self._waits
            if self.counts[what] >= number and not future.done():
                self.at = time.perf_counter()
                future.set_result(None)

    async def reached(self, what: bytes, number: int) -> None:
        """Wait until there are so many."""
        future = asyncio.get_running_loop().create_future()
        self._waits = (what, number, future)
        self.take(b"")
        await future


class _Reader(asyncio.Protocol):
    """One connection that asks for the stream and reads on."""

    def __init__(self, tally: _Tally, request: bytes) -> None:
        self._tally = tally
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._tally.take(data)


ROW = Row(
    title="Idle SSE readers",
    setup=f"{READERS} readers of `GET /api/events`, against the plainest aiohttp server that writes a frame to each of"
    " as many responses. Memory is what PSS grows by once all have connected; then changes come one at a time.",
    run=run,
)
