"""An HTTP connection whose reads Ctrl-C always interrupts.

If a signal arrives between Python's last check for signals and a blocking read, Python sees it only after
that read: for a stream, at the next heartbeat. So this connection waits for data in short turns.
"""

from __future__ import annotations

import io
import select
import socket
import time
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: seconds between two looks for Ctrl-C
READ_POLL_SECONDS = 0.1


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
        timeout_seconds = self._socket.gettimeout()
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not select.select([self._socket], [], [], READ_POLL_SECONDS)[0]:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError("no data arrived in time")
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        self._socket.close()
        super().close()


class _InterruptibleResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp.close()
        self.fp = io.BufferedReader(_InterruptibleReader(sock))


class InterruptibleConnection(HTTPConnection):
    """An HTTP connection. Its `timeout` applies to each read."""

    response_class = _InterruptibleResponse

    def send(self, data: Any) -> None:
        """Send a piece of a request, unless the server has answered: then it has refused the rest."""
        if self.sock is None or not select.select([self.sock], [], [], 0)[0]:
            super().send(data)
