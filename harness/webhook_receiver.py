"""A receiver of webhooks that follows a script, request by request."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple


class Request(NamedTuple):
    """One complete request."""

    path: str
    #: names in lower case
    headers: Mapping[str, str]
    body: bytes
    #: when it was complete, in seconds since 1970
    at: float

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Answers each request by the next line of its script, and with 200 after the last line.

    A line gives the answer: a status with header fields (`503`, `429 Retry-After: 30`), `hang`
    for none, `slow` for 200 after half a second, `reset` for a connection that breaks after
    the status 200, `drip` for a body without an end, `flood` for one of 10 MB, `raw` with bytes in hexadecimal for
    just these bytes and the end of the connection.
    """

    def __init__(self) -> None:
        self.script: deque[str] = deque()
        self.requests: list[Request] = []
        #: number of connections so far
        self.connections = 0
        self.port = 0
        #: the answer after the last line of the script
        self.otherwise = "200"
        #: ids of requests that came again before the first one was answered
        self.overlapping: set[str] = set()
        self._answering: set[str] = set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> set[str]:
        return {request.id for request in self.requests}

    async def up(self) -> None:
        """Listen; on the same port as before, if it listened before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Stop listening: connections are refused."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(head[0].split()[1], headers, body, time.time())
        self.requests.append(request)
        if request.id in self._answering:
            self.overlapping.add(request.id)
        self._answering.add(request.id)
        try:
            await self._act(self.script.popleft() if self.script else self.otherwise, reader, writer)
        finally:
            self._answering.discard(request.id)

    async def _act(self, act: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if act == "hang":
            await reader.read()
            return
        if act == "slow":
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await reader.read()
                    return
            act = "200"
        if act == "reset":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthank")
            await writer.drain()
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        if act == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n.")
            await reader.read()
            return
        if act == "flood":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10_000_000)
            await writer.drain()
            return
        if act.startswith("raw"):
            writer.write(bytes.fromhex(act.removeprefix("raw")))
            await writer.drain()
            return
        status, _, field = act.partition(" ")
        fields = f"{field}\r\n" if field else ""
        writer.write(f"HTTP/1.1 {status} Whatever\r\n{fields}Content-Length: 4\r\n\r\nwell".encode())
        await writer.drain()


@asynccontextmanager
async def serve_receiver(*script: str) -> AsyncIterator[Receiver]:
    """Listen on a loopback port while the block runs."""
    receiver = Receiver()
    receiver.script.extend(script)
    await receiver.up()
    try:
        yield receiver
    finally:
        await receiver.down()


class Elsewhere:
    """A receiver on its own thread, for callers without an event loop."""

    def __init__(self) -> None:
        self.receiver = Receiver()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="receiver")
        self._thread.start()

    def up(self) -> None:
        asyncio.run_coroutine_threadsafe(self.receiver.up(), self._loop).result()

    def down(self) -> None:
        asyncio.run_coroutine_threadsafe(self.receiver.down(), self._loop).result()

    def close(self) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def receiving_elsewhere() -> Iterator[Elsewhere]:
    """Listen on a thread while the block runs."""
    elsewhere = Elsewhere()
    try:
        elsewhere.up()
        yield elsewhere
    finally:
        elsewhere.close()
