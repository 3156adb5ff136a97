"""A load generator in its own process: keep-alive clients on raw sockets, each with one request at a time.

Reads a `Load` from standard input and writes a `Slice` to standard output, as JSON. It reads the server's
CPU time exactly at the two ends of the slice, so that connecting and warming up do not count.
"""

from __future__ import annotations

import itertools
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec

from bench import measure

#: bytes that are read at once
_RECEIVED_BYTES = 1 << 18
#: bytes of the number that makes a request unique
_NUMBER_BYTES = 8


class Load(msgspec.Struct, frozen=True):
    """What to send."""

    port: int
    #: pid of the server
    pid: int
    #: one request for each client, which sends it again and again
    requests: list[bytes]
    seconds: float
    #: seconds before the slice begins
    warm_up: float = 0.3
    #: whether the last bytes of each request are a number that no other has, so that no two bodies are the same
    unique: bool = False


class Slice(msgspec.Struct, frozen=True):
    """The result of one slice."""

    answers: int
    seconds: float
    #: CPU seconds that the server used, all threads
    server_cpu: float
    #: the same for this generator; if it is near `seconds`, the generator is the bottleneck
    client_cpu: float
    #: milliseconds from a request to the end of its answer
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds

    @property
    def cost(self) -> float:
        """CPU microseconds of the server per answer."""
        return self.server_cpu / self.answers * 1e6


def run(load: Load) -> Slice:
    """Run one slice in a new process."""
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(command, input=msgspec.json.encode(load), stdout=subprocess.PIPE, check=True, timeout=120)
    return msgspec.json.decode(done.stdout, type=Slice)


class _Client:
    """One connection, with one request under way."""

    def __init__(self, port: int, request: bytes, numbers: Iterator[int] | None) -> None:
        """Args:
        numbers: the next one takes the place of the last bytes of each request; None sends it as it is.
        """
        self._request = memoryview(request)
        self._numbers = numbers
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = b""
        #: bytes of the answer that are still to come, when its head has come
        self._left = 0

    def send(self) -> None:
        self.sent = time.perf_counter()
        if self._numbers is None:
            self.socket.sendall(self._request)
        else:
            self.socket.sendall(self._request[:-_NUMBER_BYTES])
            self.socket.sendall(next(self._numbers).to_bytes(_NUMBER_BYTES, "big"))

    def receive(self) -> bool:
        """Read the data that has come; return whether the answer is complete.

        Raises:
            RuntimeError: the answer is not one of success, or the server closed the connection.
        """
        data = self.socket.recv(_RECEIVED_BYTES)
        if self._left:
            self._left -= len(data)
        else:
            self._head += data
            if not self._head.startswith(b"HTTP/1.1 2"):
                raise RuntimeError(f"the server answered {self._head[:1000]!r}")
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._left = end + 4 + _read_length(self._head, end) - len(self._head)
            self._head = b""
        if not data:
            raise RuntimeError("the server closed the connection")
        return not self._left


def _read_length(answer: bytes, end: int) -> int:
    start = answer.lower().index(b"content-length:", 0, end) + 15
    return int(answer[start : answer.find(b"\r\n", start)])


def _drive(load: Load) -> Slice:
    selector = selectors.DefaultSelector()
    numbers = itertools.count(time.time_ns()) if load.unique else None
    clients = [_Client(load.port, request, numbers) for request in load.requests]
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send()
    _exchange(selector, load.warm_up)
    before, own, began = measure.cpu(load.pid), _own_cpu(), time.perf_counter()
    taken = _exchange(selector, load.seconds)
    seconds = time.perf_counter() - began
    return Slice(
        answers=len(taken),
        seconds=seconds,
        server_cpu=measure.cpu(load.pid) - before,
        client_cpu=_own_cpu() - own,
        p50=measure.percentile(taken, 0.5) * 1000,
        p99=measure.percentile(taken, 0.99) * 1000,
    )


def _exchange(selector: selectors.BaseSelector, seconds: float) -> list[float]:
    """Send the next request after each answer, for `seconds`; return how long each answer took."""
    taken: list[float] = []
    now = time.perf_counter()
    until = now + seconds
    while now < until:
        for key, _ in selector.select(1.0):
            if key.data.receive():
                now = time.perf_counter()
                taken.append(now - key.data.sent)
                key.data.send()
        now = time.perf_counter()
    return taken


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_drive(msgspec.json.decode(sys.stdin.buffer.read(), type=Load))))
