"""Transports that count what their client takes, so that a slow client is known from one that reads nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

#: seconds between two looks whether a client has taken the rest of a TLS connection that closes
CLOSE_POLL_SECONDS = 0.05


class CountingTransport:
    """A transport that counts what its client takes. The size of its buffer alone does not tell: more is written."""

    __slots__ = ("__weakref__", "_transport", "_written")  # event loops refer to transports weakly

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written += len(data) if isinstance(data, bytes) else memoryview(data).nbytes
        self._transport.write(data)

    def writelines(self, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        given = list(parts)
        self._written += sum(memoryview(part).nbytes for part in given)
        self._transport.writelines(given)

    @property
    def waiting(self) -> int:
        """Bytes that the client has not taken."""
        return self._transport.get_write_buffer_size()

    @property
    def taken(self) -> int:
        """Bytes that the client has taken so far."""
        return self._written - self.waiting


class EncryptedTransport(CountingTransport):
    """The transport of a TLS connection. What waits is in two buffers: that of TLS, and that of the socket below.

    TLS passes on all that it has as soon as the socket takes anything, so that the limits of its own buffer, and the
    deadline of its end, say little about a slow client.
    """

    __slots__ = ("_closing", "_loop", "_on_waiting", "_plain", "_stall_seconds")

    def __init__(
        self, transport: asyncio.Transport, plain: asyncio.Transport, on_waiting: Any, stall_seconds: float
    ) -> None:
        """Args:
        on_waiting: called after a write that the client has not taken.
        """
        super().__init__(transport)
        self._plain = plain
        self._on_waiting = on_waiting
        self._stall_seconds = stall_seconds
        self._closing = False
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self._tell_waiting()

    def writelines(self, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        super().writelines(parts)
        self._tell_waiting()

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Close when the client has taken all, or takes nothing more."""
        if not self._closing:
            self._closing = True
            self._close_when_taken(self.taken, self._loop.time() + self._stall_seconds)

    @property
    def waiting(self) -> int:
        return self._transport.get_write_buffer_size() + self._plain.get_write_buffer_size()

    def _tell_waiting(self) -> None:
        if self.waiting:
            self._on_waiting()

    def _close_when_taken(self, taken: int, deadline: float) -> None:
        if not self.waiting or self._transport.is_closing():
            self._transport.close()
        elif self.taken > taken:
            self._look_again(self.taken, self._loop.time() + self._stall_seconds)
        elif self._loop.time() < deadline:
            self._look_again(taken, deadline)
        else:
            self._transport.abort()

    def _look_again(self, taken: int, deadline: float) -> None:
        self._loop.call_later(CLOSE_POLL_SECONDS, self._close_when_taken, taken, deadline)
