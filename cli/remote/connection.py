"""An HTTP connection whose reads a Ctrl-C always ends.

A signal that comes between Python's last look for one and a blocking read is seen only after that
read: for a stream, at the next heartbeat. So reads are waited for in short turns.
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

#: seconds of one turn
TURN = 0.1


class _Reader(io.RawIOBase):
    """Reads a socket of its own, a copy of the given one; closes it."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected.dup()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read what is there.

        Raises:
            TimeoutError: nothing came in the socket's own time.
        """
        patience = self._socket.gettimeout()
        deadline = None if patience is None else time.monotonic() + patience
        while not select.select([self._socket], [], [], TURN)[0]:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError("nothing came")
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        self._socket.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock))


class Connection(HTTPConnection):
    """A connection; `timeout` is for each read."""

    response_class = _Response
