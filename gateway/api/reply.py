"""Answers: JSON of a route's type, and streams of server-sent events.

The stream format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing
from types import TracebackType
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.api import errors
from gateway.api.routing import Call
from gateway.domain.event import Change, Event
from gateway.domain.run import Run
from gateway.errors import GatewayError, InvalidRequest

#: seconds of silence after which a stream says that it is still there
HEARTBEAT = 15.0
#: milliseconds after which a client whose stream ended should come back
COME_BACK = 1000

_encode = msgspec.json.Encoder().encode


def json(body: Struct | dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=_encode(body), content_type="application/json", headers=headers)


def frame(data: bytes, *, event: str = "", id: int | str = "") -> bytes:  # noqa: A002 the format's own word
    """Return one server-sent event."""
    head = (f"id: {id}\n" if id != "" else "") + (f"event: {event}\n" if event else "")
    return head.encode() + b"data: " + data + b"\n\n"


def event_frame(event: Event) -> bytes:
    """Return one line of a run's log as a server-sent event; its id is its number."""
    return frame(_encode(event.data), event=event.kind, id=event.n)


def change_frame(change: Change) -> bytes:
    return frame(_encode(change), event=change.topic, id=change.seq)


def resume_point(call: Call[Any, Any], given: int | None) -> int | None:
    """Return where a stream goes on: `Last-Event-ID`, else the `after` of the query.

    Raises:
        InvalidRequest: the header is not the id of an event.
    """
    header = call.request.headers.get("Last-Event-ID")
    if header is None:
        return given
    if not (header.isascii() and header.isdigit() and len(header) < 19):
        raise InvalidRequest("Last-Event-ID: the id of an event of this stream, a whole number.")
    return int(header)


class Stream:
    """A stream of server-sent events, as an async context manager.

    It ends when the block ends, the client goes away or takes nothing for too long, the caller's
    token is revoked, or the server closes; in the last two cases the client is asked to come back.
    """

    def __init__(self, call: Call[Any, Any]) -> None:
        self._call = call
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "X-Accel-Buffering": "no",
                **call.headers,
            }
        )
        self._task: asyncio.Task[Any] | None = None
        self._told_to_end = False
        self._timer: asyncio.TimerHandle | None = None
        self._beat: asyncio.Task[None] | None = None
        self._hooks = ExitStack()

    async def __aenter__(self) -> Stream:
        self._task = asyncio.current_task()
        await self.response.prepare(self._call.request)
        self._rest()
        self._hooks.enter_context(self._call.principal.gone.telling(self._end))
        self._hooks.enter_context(self._call.around.closing.telling(self._end))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._hooks.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._beat is not None:
            self._beat.cancel()
        if isinstance(error, asyncio.CancelledError) and self._told_to_end and self._task is not None:
            self._task.uncancel()
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._write(f"retry: {COME_BACK}\n\n".encode(), seconds=1.0)
            return True
        if isinstance(error, (ConnectionError, TimeoutError)):
            self._abort()
            return True
        return False

    async def send(self, data: bytes) -> None:
        """Write a frame; waits while the client is slow, up to `limits.stall_seconds`."""
        await self._write(data, self._call.around.config.limits.stall_seconds)
        self._rest()

    async def _write(self, data: bytes, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await self.response.write(data)

    def _rest(self) -> None:
        """Say after a while that the stream is still there."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(HEARTBEAT, self._beat_now)

    def _beat_now(self) -> None:
        transport = self._call.request.transport
        if transport is not None and transport.get_write_buffer_size() == 0:
            self._beat = asyncio.create_task(self._say_still_here(), name="heartbeat")
        self._rest()

    async def _say_still_here(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            await self._write(b": still here\n\n", seconds=HEARTBEAT)

    def _end(self) -> None:
        self._told_to_end = True
        assert self._task is not None
        self._task.cancel()

    def _abort(self) -> None:
        transport = self._call.request.transport
        if transport is not None:
            transport.abort()


async def stream(call: Call[Any, Any], frames: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    """Answer with a stream of frames, to their end."""
    async with Stream(call) as out, aclosing(frames):
        async for data in frames:
            await out.send(data)
    return out.response


def answer_frame(run: Run, answer: Callable[[Run], Struct]) -> bytes:
    """Return what the JSON answer would be as the last frame of a run's stream: `result` or `error`."""
    try:
        return frame(_encode(answer(run)), event="result")
    except GatewayError as error:
        return frame(_encode(errors.answer(error)), event="error")
