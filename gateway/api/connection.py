"""Limits on connections: how many may be open, how long a request's header may take, and how long a client may take
nothing of its answer.

aiohttp has no deadline for a request's header, and none for an answer: a client that sends half a header, or reads
nothing, would hold its connection, and the answer's memory, forever. Checked with aiohttp 3.14; see the version pin.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from typing import Any, cast

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway import log
from gateway.api import errors
from gateway.api.addresses import is_loopback
from gateway.api.transports import CountingTransport, EncryptedTransport
from gateway.errors import GatewayError, InternalError, InvalidRequest, Unavailable
from gateway.settings.limits import Limits

#: seconds that an idle connection stays open
KEEP_ALIVE_SECONDS = 75.0
#: seconds that the rest of a refused body is read and thrown away, so that the client can read the answer
REFUSED_BODY_LINGER_SECONDS = 5.0

_BUSY_RESPONSE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Retry-After: 1\r\nContent-Length: %d\r\n\r\n%s"
)
_log = log.get()


class Connection(RequestHandler):
    """One connection, with a deadline for each request's header, and one for the client to read what is sent."""

    __slots__ = ("_deadline", "_refused", "_stall_timer", "_taken")

    def __init__(self, manager: LimitedServer, **options: Any) -> None:
        super().__init__(manager, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._refused = False
        self._stall_timer: asyncio.TimerHandle | None = None
        #: bytes that the client had taken when this was last looked at
        self._taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        server = cast("LimitedServer", self._manager)
        why = server.refusal_reason(transport)
        if why is not None:
            body = msgspec.json.encode(errors.render_error(Unavailable(why)))
            cast("asyncio.Transport", transport).write(_BUSY_RESPONSE % (len(body), body))
            transport.close()
            self._refused = True
            return
        self._begin_serving(CountingTransport(cast("asyncio.Transport", transport)))
        # Without a buffer that counts as empty: then `pause_writing` tells of each answer that the client has not
        # taken, and `resume_writing` that it has taken all.
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=0)

    def start_encrypted(self, encrypted: asyncio.Transport, plain: asyncio.Transport) -> None:
        """Serve a TLS connection; `plain` is the transport below it."""
        stall_seconds = cast("LimitedServer", self._manager).limits.stall_seconds
        self._begin_serving(EncryptedTransport(encrypted, plain, self._watch_encrypted, stall_seconds))
        plain.set_write_buffer_limits(high=0)
        encrypted.set_write_buffer_limits(high=1, low=0)  # with 0, asyncio would pause a buffer that is empty

    def _begin_serving(self, transport: CountingTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._start_header_deadline(cast("LimitedServer", self._manager).limits.header_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._cancel_header_deadline()
        self._cancel_stall_timer()
        if not self._refused:
            super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self._refused:
            self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.transport is None or not cast("CountingTransport", self.transport).waiting:
            self._cancel_stall_timer()

    def _watch_encrypted(self) -> None:
        if self._stall_timer is None:
            self._watch_reader()

    def _watch_reader(self) -> None:
        """Look again after a while whether the client has taken anything."""
        self._cancel_stall_timer()
        if self.transport is not None:
            self._taken = cast("CountingTransport", self.transport).taken
            seconds = cast("LimitedServer", self._manager).limits.stall_seconds
            self._stall_timer = self._loop.call_later(seconds, self._drop_stalled_reader)

    def _drop_stalled_reader(self) -> None:
        """Drop the connection, and all that waits to be sent, if the client has taken nothing for so long."""
        self._stall_timer = None
        if self.transport is None or not cast("CountingTransport", self.transport).waiting:
            return
        if cast("CountingTransport", self.transport).taken > self._taken:
            self._watch_reader()
        else:
            self.transport.abort()

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        before = self._request_count
        super().data_received(data)
        if self._request_count > before:
            self._cancel_header_deadline()
        elif self._deadline is None and self._waiter is not None:  # the next request has begun
            self._start_header_deadline(cast("LimitedServer", self._manager).limits.header_seconds)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a request that aiohttp itself refuses, in our own error shape.

        Raises:
            ConnectionError: the client is gone, or another answer has already begun.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        error: GatewayError = InvalidRequest("this is not a valid HTTP request.")
        if status >= 500:
            _log.error("http.broke", exc_info=exc)
            error = InternalError()
        if request.writer.output_size > 0:
            raise ConnectionResetError("another answer has already begun")
        response = web.Response(
            status=status,
            body=msgspec.json.encode(errors.render_error(error)),
            content_type="application/json",
            headers=errors.build_common_headers(secrets.token_hex(8)),
        )
        response.force_close()
        return response

    def _start_header_deadline(self, seconds: float) -> None:
        self._deadline = self._loop.call_later(seconds, self.force_close)

    def _cancel_header_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class LimitedServer(web.Server):
    """aiohttp's server, which refuses connections over the limits."""

    def __init__(self, template: web.Server, limits: Limits, trusts: Any) -> None:
        """Args:
        template: the server that aiohttp made for the application.
        trusts: returns whether an address may open any number of connections.
        """
        super().__init__(
            template.request_handler,
            request_factory=template.request_factory,
            handler_cancellation=True,
            loop=template._loop,
            **template._kwargs,
        )
        self.limits = limits
        self._trusts = trusts
        self._addresses: Counter[str] = Counter()
        #: TLS connections that make their handshake
        self.handshakes = 0

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    def refusal_reason(self, transport: asyncio.BaseTransport) -> str | None:
        """Return why a new connection is refused; None if it is not."""
        if len(self._connections) + self.handshakes >= self.limits.connections:
            return "too many connections are open."
        address = _peer_address(transport)
        if self._addresses[address] >= self.limits.per_client and not (is_loopback(address) or self._trusts(address)):
            return "too many connections are open from your address."
        return None

    def begin_handshake(self, transport: asyncio.Transport) -> bool:
        """Count a connection that is to become a TLS connection; return False if the limits refuse it."""
        if self.refusal_reason(transport) is not None:
            return False
        self.handshakes += 1
        self._addresses[_peer_address(transport)] += 1
        return True

    def end_handshake(self, transport: asyncio.Transport) -> None:
        """Stop counting what `begin_handshake` counts: it is an ordinary connection now, or closed."""
        self.handshakes -= 1
        self._forget_address(transport)

    def _forget_address(self, transport: asyncio.BaseTransport) -> None:
        address = _peer_address(transport)
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self._addresses[_peer_address(transport)] += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        transport = self._connections.get(handler)
        if transport is not None:
            self._forget_address(transport)
        super().connection_lost(handler, exc)


class LimitedRunner(web.AppRunner):
    """aiohttp's runner, which makes our server."""

    def __init__(self, app: web.Application, limits: Limits, trusts: Any, **options: Any) -> None:
        super().__init__(
            app,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            lingering_time=REFUSED_BODY_LINGER_SECONDS,
            auto_decompress=False,
            max_field_size=16_384,
            **options,
        )
        self._limits = limits
        self._trusts = trusts

    async def _make_server(self) -> web.Server:
        return LimitedServer(await super()._make_server(), self._limits, self._trusts)


def _peer_address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else "?"
