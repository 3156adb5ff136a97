"""Many readers of one stream that mostly wait."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import measure, servers
from bench.measure import Sample
from bench.report import Figure, Result, Row

READERS = 5000
#: number of readers that connect at the same time
ABREAST = 100
#: seconds within which all readers must have a change
PATIENCE = 60.0


def run(quick: bool) -> Result:
    readers, rounds, count = (50, 2, 1) if quick else (READERS, 15, 3)
    with tempfile.TemporaryDirectory() as place:
        pairs = [_pair(Path(place) / str(number), readers, rounds) for number in range(count)]
    bytes_ = Sample.of(ours.bytes / max(theirs.bytes, 1.0) for ours, theirs in pairs)
    ratios = [mine / other for ours, theirs in pairs for mine, other in zip(ours.times, theirs.times, strict=True)]
    ours, theirs = (_summed(side) for side in zip(*pairs, strict=True))
    return Result(
        figures=[
            Figure(name="idle SSE readers / bare aiohttp: memory each", sample=bytes_, unit="x", reach=1.5),
            Figure(name="a change to all SSE readers / bare write loop", sample=Sample.of(ratios), unit="x", reach=1.2),
        ],
        notes=[
            f"gateway: {ours}; bare aiohttp: {theirs}; {readers} readers, {count} pairs of fresh processes,"
            f" {rounds} changes each, one after the other.",
            "The gateway's time begins with the request that causes the change, and includes its commit.",
        ],
    )


def _pair(home: Path, readers: int, rounds: int) -> tuple[_Side, _Side]:
    settings = {"limits": {"queue": 100_000_000, "connections": readers + 100}}
    with servers.gateway(home, settings) as ours, servers.bare("aiohttp_events") as theirs:
        sides = _Side(ours, "/api/events", "/api/sessions"), _Side(theirs, "/events", "/tell")
        asyncio.run(_measured(sides, readers, rounds))
    return sides


async def _measured(sides: tuple[_Side, _Side], readers: int, rounds: int) -> None:
    for side in sides:
        await side.connect(readers)
    for number in range(rounds):
        for side in sides if number % 2 else sides[::-1]:
            await side.tell()
    for side in sides:
        side.leave()


def _summed(sides: Sequence[_Side]) -> str:
    bytes_ = Sample.of(side.bytes for side in sides).median
    time_ = Sample.of(taken for side in sides for taken in side.times).median
    return f"{bytes_ / 1024:.1f} KiB a reader, a change reaches all in {time_ * 1000:.0f} ms"


class _Side:
    """One server and its readers."""

    def __init__(self, server: servers.Server, path: str, cause: str) -> None:
        """Args:
        path: path of the stream.
        cause: path of the POST that makes one change.
        """
        self._server = server
        self._path = path
        self._cause = cause
        self._tally = _Tally()
        self._transports: list[asyncio.BaseTransport] = []
        #: memory per reader
        self.bytes = 0.0
        #: for each change, seconds until the last reader had it
        self.times: list[float] = []

    async def connect(self, readers: int) -> None:
        """Connect all readers."""
        host = f"Host: 127.0.0.1:{self._server.port}"
        head = f"GET {self._path} HTTP/1.1\r\n{host}\r\nAuthorization: Bearer {servers.TOKEN}\r\n\r\n"
        await self._change("before")  # the memory of the first change does not count for the readers
        before = measure.memory(self._server.pid)
        self._transports = await _connected(self._server.port, self._tally, head.encode(), readers)
        await asyncio.sleep(0.5)
        self.bytes = (measure.memory(self._server.pid) - before) * 1024 * 1024 / readers

    async def tell(self) -> None:
        """Cause a change, and wait until all readers have it."""
        told = len(self.times) + 1
        began = time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(self._change(str(told)), self._tally.reached(b"data: ", len(self._transports) * told))
        self.times.append(self._tally.at - began)

    def leave(self) -> None:
        for transport in self._transports:
            transport.close()

    async def _change(self, name: str) -> None:
        """Create a new session."""
        body = {"chat_id": f"chat-{name}"}
        await asyncio.to_thread(self._server.exchange, self._server.post(self._cause, body))


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


class _Tally:
    """Counts the changes that readers have, and records when the last reader had its change."""

    def __init__(self) -> None:
        self.counts = {b"HTTP/1.1 200": 0, b"data: ": 0}
        #: when the count was reached
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
        """Wait until the count of `what` is `number`."""
        future = asyncio.get_running_loop().create_future()
        self._waits = (what, number, future)
        self.take(b"")
        await future


class _Reader(asyncio.Protocol):
    """One connection that requests the stream and reads it."""

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
    setup=f"{READERS} readers of `GET /api/events`, compared with a minimal aiohttp server that writes a frame to each"
    " of as many responses. Memory is the growth of PSS after all have connected; then changes come one at a time.",
    run=run,
)
