"""Asks a port whether a gateway answers there. Both the CLI and the supervisor use this probe.

Standard library only, and no HTTP client, so that `gateway status` is quick.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

#: bytes of an answer that are read
MAX_ANSWER_BYTES = 64 * 1024


class Answer(NamedTuple):
    """The answer to a GET."""

    #: HTTP status; None if nothing on the port speaks HTTP within the time
    status: int | None
    #: the JSON object in the body; None if it is something else
    body: dict[str, Any] | None


def ask_health(
    host: str, port: int, timeout_seconds: float, *, certificates: Path | None = None
) -> dict[str, Any] | None:
    """Return the answer to `GET /health`; None if no Moongate gateway answers.

    Args: as of `get_json`.
    """
    answer = get_json(host, port, "/health", timeout_seconds, certificates=certificates)
    return answer.body if answer.status == 200 else None


def get_json(
    host: str,
    port: int,
    path: str,
    timeout_seconds: float,
    headers: str = "",
    *,
    most: int = MAX_ANSWER_BYTES,
    certificates: Path | None = None,
) -> Answer:
    """Return the answer to a GET of a path, from a gateway on this machine.

    Args:
        host: an address to connect to, not one to listen on.
        timeout_seconds: from the connection to the last byte.
        headers: whole header lines, each with its line end.
        most: bytes of the answer that are read.
        certificates: the file with those that the gateway serves; if there is none, it speaks plain HTTP.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        with _connect(host, port, timeout_seconds, certificates) as connection:
            name = f"[{host}]" if ":" in host else host
            # HTTP/1.0: the answer is not chunked, and ends when the connection closes.
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {name}:{port}\r\n{headers}\r\n".encode())
            data = _read_answer(connection, deadline, most)
    except OSError:
        return Answer(None, None)
    head, _, body = data.partition(b"\r\n\r\n")
    return Answer(_read_status(head), _read_object(body))


def _connect(host: str, port: int, timeout_seconds: float, certificates: Path | None) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=timeout_seconds)
    if certificates is None or not certificates.exists():
        return connection
    from gateway.security import pinned_tls  # late: few gateways speak TLS

    return pinned_tls.wrap_pinned(connection, pinned_tls.read_served_certificates(certificates) or [])


def _read_answer(connection: socket.socket, deadline: float, most: int) -> bytes:
    data = b""
    while len(data) < most:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        block = connection.recv(MAX_ANSWER_BYTES)
        if not block:
            break
        data += block
    return data


def _read_status(head: bytes) -> int | None:
    words = head.split(b" ")
    is_http = words[0].startswith(b"HTTP/") and len(words) > 1 and len(words[1]) == 3 and words[1].isdigit()
    return int(words[1]) if is_http else None


def _read_object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
