"""Writes streams of server-sent events.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from functools import lru_cache, partial
from typing import Any, Protocol

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from gateway.api import errors
from gateway.api.early_end import end_now
from gateway.api.routing import Call, make_token_end_error
from gateway.domain.event import Change, Event
from gateway.domain.run import Run
from gateway.engine.hub import Reader
from gateway.engine.latch import Latch
from gateway.errors import GatewayError, InvalidRequest, Unavailable

#: seconds of silence after which a stream sends a comment, so that clients and proxies keep it open
STREAM_HEARTBEAT_SECONDS = 15.0
#: seconds that the last frame may take when a stream ends early
FAREWELL_TIMEOUT_SECONDS = 1.0
#: bytes of a frame that can always be written at once to an empty buffer: half of what asyncio buffers before it pauses
MAX_IMMEDIATE_FRAME_BYTES = 32 << 10
#: HTTP status when a stream has no more events
ALL_SEEN_STATUS = 204
HEARTBEAT_COMMENT = b": still here\n\n"
#: asks the client to reconnect after a second
RECONNECT_FRAME = b"retry: 1000\n\n"

_encode = msgspec.json.Encoder().encode


def encode_frame(data: bytes, *, event: str = "", id: int | str = "") -> bytes:  # noqa: A002 the format's own word
    """Return one server-sent event."""
    head = (f"id: {id}\n" if id != "" else "") + (f"event: {event}\n" if event else "")
    return head.encode() + b"data: " + data + b"\n\n"


def encode_event(event: Event) -> bytes:
    """Return an event of a run's log as a server-sent event; its id is the event's number."""
    return encode_frame(_encode(event.data), event=event.kind, id=event.number)


def encode_error(error: GatewayError) -> bytes:
    """Return an error as a server-sent event."""
    return encode_frame(_encode(errors.render_error(error)), event="error")


@lru_cache(maxsize=64)  # each change is sent to every reader
def encode_change(change: Change) -> bytes:
    """Return a change as a server-sent event; its id is its position."""
    return encode_frame(_encode(change), event=change.topic, id=change.seq)


@lru_cache(maxsize=4)  # each chunk is sent to every reader, one after the other
def _encode_chunk(data: bytes) -> bytes:
    """Encode data as one chunk of HTTP/1.1 chunked encoding: https://www.rfc-editor.org/rfc/rfc9112#section-7.1."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def read_resume_point(call: Call[Any, Any], given: int | None) -> int | None:
    """Return after which event a stream continues: `Last-Event-ID`, else the `after` of the query.

    Call it before the stream begins: after that, an error can have no status of its own.

    Raises:
        InvalidRequest: the header is not the id of an event.
    """
    header = call.request.headers.get("Last-Event-ID")
    if header is None:
        return given
    if not (header.isascii() and header.isdigit() and len(header) < 19):
        raise InvalidRequest("Last-Event-ID: send the id of an event of this stream, a whole number.")
    return int(header)


def answer_finished_stream(call: Call[Any, Any], run: Run, after: int) -> web.Response | None:
    """Return the answer to a reader who has seen all events of a run that has ended; None if there is more to send.

    An EventSource connects again whenever a stream ends. It stops at status 204:
    https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model.
    """
    if run.status.is_final and after >= run.last_event:
        return web.Response(status=ALL_SEEN_STATUS, headers=call.headers)
    return None


class StreamSource(Protocol):
    """The source of a stream: a generator, or an iterator that can be closed like one."""

    def __aiter__(self) -> Any: ...

    async def aclose(self) -> Any: ...


async def send_stream(
    call: Call[Any, Any],
    items: StreamSource,
    encode: Callable[[Any], bytes] = bytes,
    *,
    until: Latch | None = None,
    encode_end: Callable[[GatewayError], bytes] | None = None,
    run_id: str | None = None,
) -> web.StreamResponse:
    """Answer with a stream of server-sent events, one for each item, until there are no more items.

    It ends early when the client disconnects, reads nothing for `limits.stall_seconds`, or when its token
    expires or is revoked. It also ends when the server closes. A stream that answers one request then has the reason
    as its last frame. A client that follows something connects again, and is told then.

    Args:
        items: the source; it is closed at the end.
        encode: makes a frame of an item; when left out, the items are frames.
        until: is set when the server closes; `call.server.closing` when left out.
        encode_end: makes the last frame of an answer that ends early.
        run_id: whose answer it is.
    """
    closing = until or call.server.closing
    deadline = asyncio.timeout(call.seconds_until_token_expires)
    end_early = partial(end_now, deadline)
    out = EventStream(call, encode)
    await out.send_header()
    try:
        async with deadline, aclosing(items):
            with out, call.principal.revoked.notify_listener(end_early), closing.notify_listener(end_early):
                await _send_items(items, out)
    except TimeoutError:
        if not deadline.expired():
            out.drop_connection()
        elif encode_end is not None:
            why = _make_stopping_error(run_id) if closing.is_set else make_token_end_error(run_id)
            await out.send_last_frame(encode_end(why))
        elif closing.is_set:
            await out.send_last_frame(RECONNECT_FRAME)
    return out.response


def _make_stopping_error(run_id: str | None) -> Unavailable:
    what, details = ("submitted work", {}) if run_id is None else ("the run", {"run_id": run_id})
    return Unavailable(f"the gateway is stopping; {what} goes on when it is back.", details=details)


async def _send_items(items: StreamSource, out: EventStream) -> None:
    if isinstance(items, Reader):
        items.attach_sink(out)
    try:
        async for item in items:
            await out.send_frame(out.encode(item))
    except GatewayError as error:  # the status has been sent
        await out.send_frame(encode_error(error))


class EventStream:
    """Writes one stream of server-sent events. As a context manager, it sends a comment whenever the stream
    has been silent for a while.
    """

    __slots__ = ("_chunked", "_last", "_loop", "_patience", "_request", "_timer", "encode", "response")

    def __init__(self, call: Call[Any, Any], encode: Callable[[Any], bytes]) -> None:
        #: makes a frame of an item
        self.encode = encode
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

    async def send_header(self) -> None:
        """Send the response header."""
        await self.response.prepare(self._request)
        self._chunked = hdrs.TRANSFER_ENCODING in self.response.headers

    def offer_line(self, item: Any) -> bool:
        """Write an item at once if the client has read everything before it; return whether it was written."""
        return self._write_now(self.encode(item))

    async def send_frame(self, data: bytes, seconds: float | None = None) -> None:
        """Write a frame, and wait while the client is slow.

        Args:
            seconds: how long to wait; `limits.stall_seconds` when left out.

        Raises:
            TimeoutError: the client read nothing for so long.
            ConnectionError: the client disconnected.
        """
        if self._write_now(data):
            return
        self._last = self._loop.time()
        async with asyncio.timeout(seconds or self._patience):
            await self.response.write(data)

    async def send_last_frame(self, data: bytes) -> None:
        """Write a frame for a client that may be gone."""
        with suppress(TimeoutError):
            await self.send_frame(data, FAREWELL_TIMEOUT_SECONDS)

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(STREAM_HEARTBEAT_SECONDS, self._send_heartbeat)

    def __exit__(self, *exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def drop_connection(self) -> None:
        """Drop the connection with everything that the client has not read."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    def _write_now(self, data: bytes) -> bool:
        transport = self._request.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if not 0 < len(data) <= MAX_IMMEDIATE_FRAME_BYTES:  # an empty chunk would end the answer
            return False
        self._last = self._loop.time()
        transport.write(_encode_chunk(data) if self._chunked else data)  # what aiohttp would do, without its await
        return True

    def _send_heartbeat(self) -> None:
        silence = self._loop.time() - self._last
        if silence >= STREAM_HEARTBEAT_SECONDS:
            silence = 0.0
            self._write_now(HEARTBEAT_COMMENT)  # while earlier frames wait in the buffer, no comment is needed
        self._timer = self._loop.call_later(STREAM_HEARTBEAT_SECONDS - silence, self._send_heartbeat)


def encode_answer(run: Run, answer: Callable[[Run], Struct]) -> bytes:
    """Return the last frame of a run's stream: `result` with the JSON answer, or `error`."""
    try:
        return encode_frame(_encode(answer(run)), event="result")
    except GatewayError as error:
        return encode_error(error)
