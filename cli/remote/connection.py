"""An HTTP connection whose reads Ctrl-C always interrupts, with TLS or without.

If a signal arrives between Python's last check for signals and a blocking read, Python sees it only after
that read: for a stream, at the next heartbeat. So this connection waits for data in short turns.
"""

from __future__ import annotations

import io
import select
import socket
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

    from _typeshed import ReadableBuffer, WriteableBuffer

#: seconds between two looks for Ctrl-C
READ_POLL_SECONDS = 0.1
#: bytes that are read to see whether there is an answer already
EARLY_READ_BYTES = 4096


def _wait_for_data(connected: socket.socket, timeout_seconds: float | None) -> None:
    """Wait until there is something to read.

    Raises:
        TimeoutError: no data arrived in time.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while not select.select([connected], [], [], READ_POLL_SECONDS)[0]:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError("no data arrived in time")


class _InterruptibleReader(io.RawIOBase):
    """Reads a duplicate of a socket, and closes the duplicate."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected.dup()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read the data that has arrived.

        Raises:
            TimeoutError: no data arrived within the timeout of the socket.
        """
        _wait_for_data(self._socket, self._socket.gettimeout())
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        self._socket.close()
        super().close()


class _InterruptibleResponse(HTTPResponse):
    def __init__(self, sock: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        if not isinstance(sock, TlsStream):
            self.fp.close()
            self.fp = io.BufferedReader(_InterruptibleReader(sock))


class TlsStream:
    """A TLS connection, as `http.client` uses a socket. It closes when its last user has closed it."""

    def __init__(self, encrypted: ssl.SSLSocket) -> None:
        import ssl  # late: most commands speak plain HTTP

        self._want_read = ssl.SSLWantReadError
        self._encrypted = encrypted
        self._timeout_seconds = encrypted.gettimeout()
        self._early = bytearray()
        self._users = 1

    def sendall(self, data: ReadableBuffer) -> None:
        self._encrypted.sendall(data)

    def makefile(self, mode: str, *_: object) -> io.BufferedReader:
        self._users += 1
        return io.BufferedReader(_TlsReader(self))

    def has_answer(self) -> bool:
        """Return whether the server has sent something, or closed the connection.

        Data on the socket is not enough: TLS sends some of its own.
        """
        if not self._early and select.select([self._encrypted], [], [], 0)[0]:
            data = self._read_now(EARLY_READ_BYTES)
            if data == b"":
                return True
            self._early += data or b""
        return bool(self._early)

    def receive(self, count: int) -> bytes:
        """Return data as soon as some arrives; empty at the end.

        Raises:
            TimeoutError: no data arrived within the timeout.
        """
        if self._early:
            data = bytes(self._early[:count])
            del self._early[:count]
            return data
        while (found := self._read_now(count)) is None:
            _wait_for_data(self._encrypted, self._timeout_seconds)
        return found

    def close(self) -> None:
        self._users -= 1
        if self._users <= 0:
            self._encrypted.close()

    def _read_now(self, count: int) -> bytes | None:
        """Return what has arrived; empty at the end, None if there is nothing yet."""
        self._encrypted.settimeout(0)
        try:
            return self._encrypted.recv(count)
        except self._want_read:
            return None
        finally:
            self._encrypted.settimeout(self._timeout_seconds)


class _TlsReader(io.RawIOBase):
    def __init__(self, stream: TlsStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._stream.receive(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


class InterruptibleConnection(HTTPConnection):
    """An HTTP connection. Its `timeout` applies to each read."""

    response_class = _InterruptibleResponse

    def __init__(
        self,
        host: str,
        port: int,
        timeout: float,
        encrypt: Callable[[socket.socket], ssl.SSLSocket] | None = None,
        *,
        connect_timeout: float | None = None,
    ) -> None:
        """Args:
        encrypt: makes the TLS connection over a socket, which it closes if that fails; None for plain HTTP.
        connect_timeout: seconds until the connection is open; as `timeout` if it is left out.
        """
        super().__init__(host, port, timeout=connect_timeout or timeout)
        self._encrypt = encrypt
        self._read_timeout_seconds = timeout

    def connect(self) -> None:
        super().connect()
        if self._encrypt is None:
            self.sock.settimeout(self._read_timeout_seconds)
            return
        connected, self.sock = self.sock, None
        encrypted = self._encrypt(connected)
        encrypted.settimeout(self._read_timeout_seconds)
        self.sock = TlsStream(encrypted)

    def send(self, data: Any) -> None:
        """Send a piece of a request, unless the server has answered: then it has refused the rest."""
        if self.sock is None or not self._has_answer():
            super().send(data)

    def _has_answer(self) -> bool:
        if isinstance(self.sock, TlsStream):
            return self.sock.has_answer()
        return bool(select.select([self.sock], [], [], 0)[0])
