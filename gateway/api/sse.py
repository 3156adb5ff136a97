"""Streams of server-sent events.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from functools import lru_cache
from typing import Any, Protocol

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from gateway.api import errors
from gateway.api.routing import Call
from gateway.domain.event import Change, Event
from gateway.domain.run import Run
from gateway.engine.hub import Reader
from gateway.engine.latch import Latch
from gateway.errors import GatewayError, InvalidRequest

#: seconds of silence after which a stream says that it is still there
HEARTBEAT = 15.0
#: seconds that the last frame of a stream that is told to end may take
FAREWELL = 1.0
#: bytes of a frame that never has to wait where nothing else waits: half of what asyncio buffers before it pauses
QUICK = 32 << 10
STILL_HERE = b": still here\n\n"
#: asks a client whose stream ended to come back after a second
COME_BACK = b"retry: 1000\n\n"

_encode = msgspec.json.Encoder().encode


def frame(data: bytes, *, event: str = "", id: int | str = "") -> bytes:  # noqa: A002 the format's own word
    """Return one server-sent event."""
    head = (f"id: {id}\n" if id != "" else "") + (f"event: {event}\n" if event else "")
    return head.encode() + b"data: " + data + b"\n\n"


def event_frame(event: Event) -> bytes:
    """Return one line of a run's log as a server-sent event; its id is its number."""
    return frame(_encode(event.data), event=event.kind, id=event.n)


def error_frame(error: GatewayError) -> bytes:
    return frame(_encode(errors.answer(error)), event="error")


@lru_cache(maxsize=64)  # each is said to all who follow changes
def change_frame(change: Change) -> bytes:
    return frame(_encode(change), event=change.topic, id=change.seq)


@lru_cache(maxsize=4)  # each is said to all who follow changes, one after the other
def _chunk(data: bytes) -> bytes:
    """Return a part of a body of unknown length: https://www.rfc-editor.org/rfc/rfc9112#section-7.1."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def resume_point(call: Call[Any, Any], given: int | None) -> int | None:
    """Return where a stream goes on: `Last-Event-ID`, else the `after` of the query.

    To be asked before the stream begins: a refusal must still be able to be one.

    Raises:
        InvalidRequest: the header is not the id of an event.
    """
    header = call.request.headers.get("Last-Event-ID")
    if header is None:
        return given
    if not (header.isascii() and header.isdigit() and len(header) < 19):
        raise InvalidRequest("Last-Event-ID: the id of an event of this stream, a whole number.")
    return int(header)


class Lines(Protocol):
    """What a stream is made of: a generator, or what can be closed like one."""

    def __aiter__(self) -> Any: ...

    async def aclose(self) -> Any: ...


async def stream(
    call: Call[Any, Any],
    lines: Lines,
    frame: Callable[[Any], bytes] = bytes,
    *,
    until: Latch | None = None,
    farewell: bytes = COME_BACK,
) -> web.StreamResponse:
    """Answer with a stream of what `frame` makes of each line, to their end; lines that are frames stay as they are.

    It ends sooner when the client goes away, takes nothing for `limits.stall_seconds`, or its token
    ends or is revoked; and when the server closes: then with a farewell.

    Args:
        until: what counts as the server's closing.
    """
    closing = until or call.server.closing
    lasting = asyncio.timeout(lifetime(call))

    def end() -> None:
        if not lasting.expired():
            lasting.reschedule(0)

    out = Stream(call, frame)
    await out.open()
    try:
        async with lasting, aclosing(lines):
            with out, call.principal.gone.telling(end), closing.telling(end):
                await _copy(lines, out)
    except TimeoutError:
        if not lasting.expired():
            out.abort()
        elif closing.is_set:
            with suppress(TimeoutError):
                await out.send(farewell, FAREWELL)
    return out.response


def lifetime(call: Call[Any, Any]) -> float | None:
    """Return the seconds until the caller's token ends; None if it does not."""
    expires = call.principal.expires
    return None if expires is None else (expires - call.server.clock()) / 1000


async def _copy(lines: Lines, out: Stream) -> None:
    if isinstance(lines, Reader):
        lines.pour(out)
    try:
        async for line in lines:
            await out.send(out.frame(line))
    except GatewayError as error:  # too late for a status
        await out.send(error_frame(error))


class Stream:
    """The writing end of a stream of server-sent events; as a context, it says after each while of silence that it
    is still there.
    """

    __slots__ = ("_chunked", "_last", "_loop", "_patience", "_request", "_timer", "frame", "response")

    def __init__(self, call: Call[Any, Any], frame: Callable[[Any], bytes]) -> None:
        #: makes a line a frame
        self.frame = frame
        self._request = call.request
        self._patience = call.server.config.limits.stall_seconds
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._chunked = False
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "X-Accel-Buffering": "no",
                **call.headers,
            }
        )

    async def open(self) -> None:
        """Send the header."""
        await self.response.prepare(self._request)
        self._chunked = hdrs.TRANSFER_ENCODING in self.response.headers

    def offer(self, line: Any) -> bool:
        """Write a line at once if the client has taken all before it; returns whether it was written."""
        return self._write_now(self.frame(line))

    async def send(self, data: bytes, seconds: float | None = None) -> None:
        """Write a frame; waits while the client is slow.

        Raises:
            TimeoutError: it took nothing for so long.
            ConnectionError: it went away.
        """
        if self._write_now(data):
            return
        self._last = self._loop.time()
        async with asyncio.timeout(seconds or self._patience):
            await self.response.write(data)

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(HEARTBEAT, self._beat)

    def __exit__(self, *exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """Drop the connection, and what the client has not taken."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    def _write_now(self, data: bytes) -> bool:
        transport = self._request.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if not 0 < len(data) <= QUICK:  # an empty chunk would end the answer
            return False
        self._last = self._loop.time()
        transport.write(_chunk(data) if self._chunked else data)  # as aiohttp would, but it has to be waited for
        return True

    def _beat(self) -> None:
        silence = self._loop.time() - self._last
        if silence >= HEARTBEAT:
            silence = 0.0
            self._write_now(STILL_HERE)  # one that has not taken what came before needs no sign of life
        self._timer = self._loop.call_later(HEARTBEAT - silence, self._beat)


def answer_frame(run: Run, answer: Callable[[Run], Struct]) -> bytes:
    """Return what the JSON answer would be as the last frame of a run's stream: `result` or `error`."""
    try:
        return frame(_encode(answer(run)), event="result")
    except GatewayError as error:
        return error_frame(error)
