"""Servers that answer every request with given bytes, as model servers of all kinds do."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class RawModel:
    """A server that gives its answers in order; the last one again and again."""

    answers: tuple[bytes, ...]
    base_url: str = ""
    #: requests so far
    requests: int = 0

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), b":0")
            await reader.readexactly(int(length.split(b":")[1]))
            self.requests += 1
            writer.write(self.answers[min(self.requests, len(self.answers)) - 1])
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serve_raw_model(*answers: bytes) -> AsyncIterator[RawModel]:
    """Serve answers on loopback; the connection is closed after each."""
    model = RawModel(answers)
    server = await asyncio.start_server(model.respond, "127.0.0.1", 0)
    model.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield model


def reply(body: bytes, kind: str = "text/event-stream", status: str = "200 OK", more: str = "") -> bytes:
    """Return an HTTP response."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n{more}\r\n".encode() + body


def piece(said: Any) -> bytes:
    """Return a JSON value as an event of a stream."""
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def chunk(**delta: Any) -> bytes:
    """Return a piece of an answer."""
    return piece({"choices": [{"delta": delta}]})


def end(reason: Any, **delta: Any) -> bytes:
    """Return the last piece of an answer."""
    return piece({"choices": [{"delta": delta, "finish_reason": reason}]})
