"""Serves a WebSocket: each item of a generator is one text message.

The protocol is RFC 6455; its close codes are listed at
https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number. A slow reader costs what the
connection buffers for it, and one message: the next message is made when the one before has been sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any

from aiohttp import WSCloseCode, WSMsgType, web
from msgspec import Meta

from gateway.api import sse
from gateway.api.early_end import end_now
from gateway.api.routing import Call
from gateway.errors import GatewayError, InvalidRequest

#: bytes of a message from a client, which has nothing to send
MAX_CLIENT_MESSAGE_BYTES = 4096
#: bytes that the reason in a close frame may have
MAX_CLOSE_REASON_BYTES = 123

#: query parameter that replaces the Authorization header, which browsers cannot send with a WebSocket
Ticket = Annotated[str | None, Meta(description="From POST /api/tickets; replaces the Authorization header.")]


async def serve_websocket(call: Call[Any, Any], frames: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    """Answer with a WebSocket that sends `frames` until they end. What the client sends is ignored.

    Close codes: 1000, the frames ended; 1012, the server is closing: reconnect, and ask for what came after the
    last frame; 1008, the token expired or was revoked; 1011, an error. The connection is dropped when the client
    reads nothing for `limits.stall_seconds` or answers no ping.

    Args:
        frames: texts; the generator is closed at the end.

    Raises:
        InvalidRequest: the request does not ask for a WebSocket.
    """
    socket = web.WebSocketResponse(
        heartbeat=sse.STREAM_HEARTBEAT_SECONDS,
        compress=False,
        max_msg_size=MAX_CLIENT_MESSAGE_BYTES,
        writer_limit=0,
        timeout=sse.FAREWELL_TIMEOUT_SECONDS,
    )
    if not socket.can_prepare(call.request):
        raise InvalidRequest("this path speaks WebSocket.", remedy="Open it with a WebSocket client.")
    await socket.prepare(call.request)
    closing = call.server.closing
    deadline = asyncio.timeout(call.seconds_until_token_expires)

    def end_early(_: object = None) -> None:
        end_now(deadline)

    listening = asyncio.create_task(_receive_until_closed(socket), name="websocket")
    code, reason = WSCloseCode.OK, b""
    try:
        listening.add_done_callback(end_early)
        async with deadline, aclosing(frames):
            with call.principal.revoked.notify_listener(end_early), closing.notify_listener(end_early):
                await _send_texts(frames, socket, call.server.config.limits.stall_seconds)
    except TimeoutError:
        if not deadline.expired():
            _drop_connection(call)
        elif closing.is_set:
            code, reason = WSCloseCode.SERVICE_RESTART, b"come back in a second"
        else:
            code, reason = WSCloseCode.POLICY_VIOLATION, b"the token has ended"
    except GatewayError as error:
        code, reason = WSCloseCode.INTERNAL_ERROR, _cut_close_reason(str(error))
    finally:
        listening.remove_done_callback(end_early)
        listening.cancel()
        await asyncio.wait([listening])
    await _close_websocket(call, socket, code, reason)
    return socket


async def _send_texts(
    frames: AsyncGenerator[bytes, None], socket: web.WebSocketResponse, timeout_seconds: float
) -> None:
    async for data in frames:
        async with asyncio.timeout(timeout_seconds):
            await socket.send_frame(data, WSMsgType.TEXT)


async def _receive_until_closed(socket: web.WebSocketResponse) -> None:
    """Read and drop messages, so that pings are answered; return when the client disconnects."""
    while (await socket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        pass


async def _close_websocket(
    call: Call[Any, Any], socket: web.WebSocketResponse, code: WSCloseCode, reason: bytes
) -> None:
    """Send a close frame and wait a short time for the client's; it may have closed already."""
    with suppress(TimeoutError):
        async with asyncio.timeout(2 * sse.FAREWELL_TIMEOUT_SECONDS):
            await socket.close(code=code, message=reason)
    transport = call.request.transport
    if transport is not None and transport.get_write_buffer_size() > 0:
        transport.abort()


def _drop_connection(call: Call[Any, Any]) -> None:
    transport = call.request.transport
    if transport is not None:
        transport.abort()


def _cut_close_reason(text: str) -> bytes:
    return text.encode()[:MAX_CLOSE_REASON_BYTES].decode("utf-8", "ignore").encode()
