"""The HTTP connection of the commands."""

from __future__ import annotations

import select
import signal
import socket
import threading
from typing import Any

import pytest

from cli.remote import connection
from cli.remote.connection import InterruptibleConnection


def test_a_signal_that_comes_just_before_a_read_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the race, Python notes the signal only while the connection waits, and the read is not interrupted."""

    def uninterruptible(*arguments: Any) -> Any:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.raise_signal(signal.SIGINT)
        try:
            return select_as_it_is(*arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    select_as_it_is = select.select
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = InterruptibleConnection(*server.getsockname(), timeout=30)
        made.request("GET", "/")
        monkeypatch.setattr(connection.select, "select", uninterruptible)

        with pytest.raises(KeyboardInterrupt):
            made.getresponse()
        made.close()


def test_silence_is_waited_for_only_so_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = InterruptibleConnection(*server.getsockname(), timeout=0.2)
        made.request("GET", "/")

        with pytest.raises(TimeoutError):
            made.getresponse()
        made.close()


def test_an_answer_in_pieces_is_read() -> None:
    head = (b"HTTP/1.1 200 OK\r\nTransfer-", b"Encoding: chunked\r\n\r\n")

    def serve(server: socket.socket) -> None:
        accepted, _ = server.accept()
        with accepted:
            accepted.recv(1000)
            for piece in (*head, b"2\r\na\n\r\n1\r\nb\r\n0\r\n\r\n"):
                accepted.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        made = InterruptibleConnection(*server.getsockname(), timeout=30)
        made.request("GET", "/", headers={"Connection": "close"})
        with made.getresponse() as response:
            assert list(response) == [b"a\n", b"b"]
        made.close()
        thread.join()
