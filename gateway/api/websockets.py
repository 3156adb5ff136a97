"""WebSockets: what a generator yields, each as one text message, to its end.

The protocol is RFC 6455; its close codes are listed at
https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number. A slow reader costs what the
connection holds for it and one message: frames are asked for only as they are taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any

from aiohttp import WSCloseCode, WSMsgType, web
from msgspec import Meta

from gateway.api import sse
from gateway.api.routing import Call
from gateway.engine.latch import Latch
from gateway.errors import GatewayError, InvalidRequest

#: bytes of a message from a client; there is nothing that it has to say
INCOMING = 4096
#: bytes that a close frame's reason may have
REASON = 123

#: in a query, instead of the header Authorization, which browsers cannot send with a WebSocket
Ticket = Annotated[str | None, Meta(description="From POST /api/tickets, where no Authorization can be sent.")]


async def serve(
    call: Call[Any, Any], frames: AsyncGenerator[bytes, None], *, until: Latch | None = None
) -> web.StreamResponse:
    """Answer with a WebSocket that says these texts, to their end; what the client says is not listened to.

    It is closed with 1000 at the end, with 1012 when the server closes (come back then, and ask for what
    came after the last frame), with 1008 when the caller's token ends or is revoked, with 1011 when something
    breaks; and dropped when the client takes nothing for `limits.stall_seconds` or answers no ping.

    Args:
        until: what counts as the server's closing.

    Raises:
        InvalidRequest: the request does not ask for a WebSocket.
    """
    socket = web.WebSocketResponse(
        heartbeat=sse.HEARTBEAT, compress=False, max_msg_size=INCOMING, writer_limit=0, timeout=sse.FAREWELL
    )
    if not socket.can_prepare(call.request):
        raise InvalidRequest("this path speaks WebSocket.", remedy="Open it with a WebSocket client.")
    await socket.prepare(call.request)
    closing = until or call.server.closing
    lasting = asyncio.timeout(sse.lifetime(call))

    def end(_: object = None) -> None:
        if not lasting.expired():
            lasting.reschedule(0)

    listening = asyncio.create_task(_listen(socket), name="websocket")
    code, reason = WSCloseCode.OK, b""
    try:
        listening.add_done_callback(end)
        async with lasting, aclosing(frames):
            with call.principal.gone.telling(end), closing.telling(end):
                await _copy(frames, socket, call.server.config.limits.stall_seconds)
    except TimeoutError:
        if not lasting.expired():
            _abort(call)
        elif closing.is_set:
            code, reason = WSCloseCode.SERVICE_RESTART, b"come back in a second"
        else:
            code, reason = WSCloseCode.POLICY_VIOLATION, b"the token has ended"
    except GatewayError as error:
        code, reason = WSCloseCode.INTERNAL_ERROR, _cut(str(error))
    finally:
        listening.remove_done_callback(end)
        listening.cancel()
        await asyncio.wait([listening])
    await _close(call, socket, code, reason)
    return socket


async def _copy(frames: AsyncGenerator[bytes, None], socket: web.WebSocketResponse, patience: float) -> None:
    async for data in frames:
        async with asyncio.timeout(patience):
            await socket.send_frame(data, WSMsgType.TEXT)


async def _listen(socket: web.WebSocketResponse) -> None:
    """Take what comes, so that pings and the client's going are seen; ends when it goes."""
    while (await socket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        pass


async def _close(call: Call[Any, Any], socket: web.WebSocketResponse, code: WSCloseCode, reason: bytes) -> None:
    """Part in good order, if the client takes part in time; it has perhaps closed already."""
    with suppress(TimeoutError):
        async with asyncio.timeout(2 * sse.FAREWELL):
            await socket.close(code=code, message=reason)
    transport = call.request.transport
    if transport is not None and transport.get_write_buffer_size() > 0:
        transport.abort()


def _abort(call: Call[Any, Any]) -> None:
    transport = call.request.transport
    if transport is not None:
        transport.abort()


def _cut(text: str) -> bytes:
    return text.encode()[:REASON].decode("utf-8", "ignore").encode()
