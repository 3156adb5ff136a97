"""A load generator in its own process: keep-alive clients on raw sockets, each with one request at a time.

Reads a `Load` from standard input and writes a `Slice` to standard output, as JSON. It reads the server's
CPU time exactly at the two ends of the slice, so that connecting and warming up do not count.
"""

from __future__ import annotations

import resource
import selectors
import socket
import subprocess
import sys
import time

import msgspec

from bench import measure


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

    def __init__(self, port: int, request: bytes) -> None:
        self.request = request
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.socket.sendall(self.request)

    def receive(self) -> bool:
        """Read the data that has come; return whether the answer is complete.

        Raises:
            RuntimeError: the answer is not 200, or the server closed the connection.
        """
        data = self.socket.recv(65536)
        self._received += data
        if not data or not self._received.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server answered {self._received[:1000]!r}")
        complete = _complete(self._received)
        if complete:
            self._received = b""
        return complete


def _complete(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    start = answer.lower().index(b"content-length:", 0, end) + 15
    return len(answer) == end + 4 + int(answer[start : answer.find(b"\r\n", start)])


def _drive(load: Load) -> Slice:
    selector = selectors.DefaultSelector()
    clients = [_Client(load.port, request) for request in load.requests]
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
