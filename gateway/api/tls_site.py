"""Serves TLS on the listening socket: each connection makes its handshake, then it is an ordinary one.

asyncio would make the handshake before the limits on connections count it. Here they count first, and every handshake
has the deadline of a request's header.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from aiohttp import web

from gateway.api.certificate_watch import CertificateWatch
from gateway.api.connection import Connection, LimitedServer


class TlsSite(web.SockSite):
    """A site that speaks TLS with the certificate of the moment."""

    def __init__(
        self, runner: web.AppRunner, listener: socket.socket, watch: CertificateWatch, *, backlog: int
    ) -> None:
        super().__init__(runner, listener, backlog=backlog)
        self._watch = watch

    async def start(self) -> None:
        await web.BaseSite.start(self)
        server = self._runner.server
        assert isinstance(server, LimitedServer)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Handshake(server, self._watch), sock=self._sock, backlog=self._backlog
        )


class Handshake(asyncio.Protocol):
    """A connection before it is encrypted."""

    def __init__(self, server: LimitedServer, watch: CertificateWatch) -> None:
        self._server = server
        self._watch = watch
        self._upgrade: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = cast("asyncio.Transport", transport)
        if not self._server.begin_handshake(plain):
            plain.abort()
            return
        plain.pause_reading()  # its first bytes are for the handshake
        self._upgrade = asyncio.create_task(self._make_handshake(plain), name="handshake")

    async def _make_handshake(self, plain: asyncio.Transport) -> None:
        limits, early = self._server.limits, EarlyData()
        encrypted: asyncio.Transport | None = None
        try:
            encrypted = await asyncio.get_running_loop().start_tls(
                plain,
                early,
                self._watch.context,
                server_side=True,
                ssl_handshake_timeout=limits.header_seconds,
                ssl_shutdown_timeout=limits.stall_seconds,
            )
        except OSError:  # ssl.SSLError is one; a client that does not trust us ends like this
            plain.abort()
        finally:
            self._server.end_handshake(plain)
        if encrypted is None:
            return
        if early.is_lost:
            encrypted.abort()
            return
        handler = cast("Connection", self._server())
        encrypted.set_protocol(handler)
        handler.start_encrypted(encrypted, plain)
        if early.data:
            handler.data_received(bytes(early.data))
        if early.is_at_end:
            handler.eof_received()


class EarlyData(asyncio.Protocol):
    """Keeps what arrives with the end of the handshake."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_at_end = False
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.is_at_end = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
