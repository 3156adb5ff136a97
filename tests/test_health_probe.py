"""Whether something on a port is a gateway."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway import health_probe


@contextmanager
def answering(*blocks: bytes) -> Iterator[int]:
    """Serve one connection: these bytes, then silence until the block ends."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                for block in blocks:
                    connection.sendall(block)
                if blocks[-1:] != (b"",):
                    return
                over.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()


def test_an_answer_is_read_to_its_end() -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\n", b'{"instance": ', b'"x"}') as port:
        assert health_probe.ask_health("127.0.0.1", port, 30) == {"instance": "x"}


@pytest.mark.parametrize(
    "blocks",
    [
        (b"SSH-2.0-OpenSSH\r\n",),
        (b"HTTP/1.0 200 OK\r\n\r\nhello",),
        (b"HTTP/1.0 200 OK\r\n\r\n[1]",),
        (b"HTTP/1.0 500 No\r\n\r\n{}",),
        (b"SSH 200 OK\r\n\r\n{}",),
        (b"HTTP/1.0 \xb2\xb2\xb2 OK\r\n\r\n{}",),
        (b"x" * 100_000,),
        (),
    ],
    ids=["another protocol", "no json", "no object", "an error", "no http", "no status", "a flood", "nothing"],
)
def test_an_answer_that_is_not_a_gateways_is_none(blocks: tuple[bytes, ...]) -> None:
    with answering(*blocks) as port:
        assert health_probe.ask_health("127.0.0.1", port, 30) is None


def test_silence_is_waited_for_only_so_long() -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\n", b"") as port:
        assert health_probe.ask_health("127.0.0.1", port, timeout_seconds=0.05) is None


def test_nobody_on_the_port_is_none(closed_port: int) -> None:
    assert health_probe.ask_health("127.0.0.1", closed_port, 30) is None


def test_the_status_is_told_of_a_body_that_is_no_object() -> None:
    with answering(b"HTTP/1.1 401 Unauthorized\r\nA: b\r\n\r\nno") as port:
        assert health_probe.get_json("127.0.0.1", port, "/", 30) == (401, None)
