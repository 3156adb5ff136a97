"""Asking a served gateway: one call, one stream, or bytes as no client would send them."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from harness.waiting import PATIENCE
from tests.support.inprocess import TOKEN, Serving

BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The code of an error."""
        return str(self.body["error"]["code"])

    @property
    def message(self) -> str:
        return str(self.body["error"]["message"])


async def ask(
    served: Serving, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
) -> Answer:
    """Make one request; a header's `_` stands for `-`."""
    data = None if body is None else io.BytesIO(json.dumps(body).encode())
    sent = {"Content-Type": "application/json"} if body is not None else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    url = URL(f"http://127.0.0.1:{served.port}{path}", encoded=True)  # percent-encoded as it is given
    async with (
        aiohttp.ClientSession(headers={**served.client.headers, **sent}) as client,
        client.request(method, url, data=data) as response,
    ):
        return Answer(response.status, _parsed(await response.read()), response.headers)


async def token(served: Serving, name: str, scope: str, **more: Any) -> str:
    """Make a named token and return its secret."""
    made = await ask(served, "POST", "/api/tokens", {"name": name, "scope": scope, **more})
    assert made.status == 201, made.body
    return str(made.body["token"])


class Frame(NamedTuple):
    """One server-sent event."""

    id: str
    event: str
    data: Any


class Sse:
    """A stream of server-sent events as a client reads it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self._lines = _lines(response.content)
        #: comments and `retry` lines, as they came
        self.asides: list[str] = []

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self._frames()

    async def next(self) -> Frame:
        """Return the next frame, or fail."""
        async with asyncio.timeout(PATIENCE):
            async for frame in self:
                return frame
        raise AssertionError("the stream has ended")

    async def rest(self) -> list[Frame]:
        """Return all frames to the stream's end."""
        async with asyncio.timeout(PATIENCE):
            return [frame async for frame in self]

    async def _frames(self) -> AsyncIterator[Frame]:
        fields: dict[str, str] = {}
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if not name and not value and "data" in fields:
                yield Frame(fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]))
                fields = {}
            elif name in ("id", "event", "data"):
                fields[name] = value
            elif name or value:
                self.asides.append(f"{name}: {value}")


@asynccontextmanager
async def stream(
    served: Serving, path: str, *, method: str = "GET", body: Any = None, token: str | None = None, **headers: str
) -> AsyncIterator[Sse]:
    """Open a stream."""
    sent = {"Accept": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    async with served.client.request(method, path, json=body, headers=sent) as response:
        assert response.status == 200, await response.text()
        yield Sse(response)


async def raw(served: Serving, data: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes on a new connection, and return all that comes until the gateway closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(data)
        if half_close:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()


def head(line: str, *more: str, host: str = "localhost", bearer: str | None = TOKEN) -> bytes:
    """Return a request's header, ended; the connection is to be closed after its answer."""
    lines = [f"{line} HTTP/1.1", f"Host: {host}", "Connection: close", *more]
    if bearer is not None:
        lines.append(f"Authorization: Bearer {bearer}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def post(path: str, body: bytes, *more: str) -> bytes:
    """Return a whole POST of JSON bytes."""
    length = f"Content-Length: {len(body)}"
    return head(f"POST {path}", "Content-Type: application/json", length, *more) + body


def read(answer: bytes) -> Answer:
    """Take apart the last answer in what came from a connection."""
    at = answer.rfind(b"HTTP/1.")
    header, _, body = answer[at:].partition(b"\r\n\r\n")
    first, *lines = header.decode().split("\r\n")
    return Answer(int(first.split()[1]), _parsed(body), dict(line.split(": ", 1) for line in lines))


async def done(served: Serving, task: str) -> dict[str, Any]:
    """Wait for a task's end and return it."""
    await served.engine.runs.wait_for_run(task, PATIENCE)
    found: dict[str, Any] = (await ask(served, "GET", f"/api/tasks/{task}")).body["task"]
    return found


async def running(served: Serving, task: str) -> None:
    """Wait until a task is at work."""
    async with asyncio.timeout(PATIENCE):
        async for event in served.engine.runs.watch_run(task):
            if event.kind == "status" and event.data.status == "running":
                return


async def submit(served: Serving, input_: str, **more: Any) -> dict[str, Any]:
    """Hand in a task and return it."""
    answer = await ask(served, "POST", "/api/tasks", {"input": input_, **more})
    assert answer.status == 202, answer.body
    task: dict[str, Any] = answer.body["task"]
    return task


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Yield lines of any length: the reader's own `readline` has a limit."""
    rest = bytearray()
    async for data in content.iter_any():
        rest += data
        if b"\n" in data:
            *whole, last = rest.split(b"\n")
            rest = bytearray(last)
            for line in whole:
                yield line.decode()


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")
