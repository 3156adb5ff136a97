"""Whether something on a port is a gateway."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli.remote import probe
from gateway.supervisor.record import Record


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
        assert probe.ask("127.0.0.1", port, 30) == {"instance": "x"}


@pytest.mark.parametrize(
    "blocks",
    [
        (b"SSH-2.0-OpenSSH\r\n",),
        (b"HTTP/1.0 200 OK\r\n\r\nhello",),
        (b"HTTP/1.0 200 OK\r\n\r\n[1]",),
        (b"HTTP/1.0 500 No\r\n\r\n{}",),
        (b"x" * 100_000,),
        (),
    ],
    ids=["another protocol", "no json", "no object", "an error", "a flood", "nothing"],
)
def test_an_answer_that_is_not_a_gateways_is_none(blocks: tuple[bytes, ...]) -> None:
    with answering(*blocks) as port:
        assert probe.ask("127.0.0.1", port, 30) is None


def test_silence_is_waited_for_only_so_long() -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\n", b"") as port:
        assert probe.ask("127.0.0.1", port, patience=0.05) is None


def test_nobody_on_the_port_is_none(closed_port: int) -> None:
    assert probe.ask("127.0.0.1", closed_port, 30) is None


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://localhost:1"),
        ("0.0.0.0", "http://localhost:1"),
        ("::", "http://localhost:1"),
        ("[::1]", "http://localhost:1"),
        ("192.0.2.7", "http://192.0.2.7:1"),
        ("2001:db8::7", "http://[2001:db8::7]:1"),
        ("box", "http://box:1"),
    ],
)
def test_the_url_is_one_that_leads_there(host: str, shown: str) -> None:
    made = Record(1, 0, "", "", "", "", host, 1, "")

    assert probe.url(made) == shown
