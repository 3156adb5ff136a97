"""Is it running? The lock's record, and whether the instance that wrote it answers. Takes no lock.

Standard library only, and no HTTP client: `gateway status` is to be quick.
"""

from __future__ import annotations

import json
import socket
import time
from enum import StrEnum
from typing import Any, NamedTuple

from cli.instance import Place
from gateway.supervisor.record import Record

#: seconds that a gateway on this machine may take to answer
PATIENCE = 2.0
#: bytes of an answer that are read
LONGEST = 64 * 1024


class State(StrEnum):
    RUNNING = "running"
    #: its process is there, and does not answer: it starts, stops or hangs
    UNRESPONSIVE = "unresponsive"
    STOPPED = "stopped"


class Look(NamedTuple):
    """What was found."""

    state: State
    #: of the gateway that is there; None when stopped
    record: Record | None = None
    #: its answer to `GET /health`; None unless running
    health: dict[str, Any] | None = None


def look(place: Place) -> Look:
    """Look whether the gateway of a place runs."""
    found = place.record
    if found is None or not found.alive:
        return Look(State.STOPPED)
    answer = ask(reachable(found.host), found.port, PATIENCE)
    if answer is None or answer.get("instance") != found.instance:
        return Look(State.UNRESPONSIVE, found)
    return Look(State.RUNNING, found, answer)


def reachable(host: str) -> str:
    """Return an address to connect to, for one to listen on."""
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def url(record: Record) -> str:
    """Return the address for people and programs of this machine."""
    host = reachable(record.host)
    shown = "localhost" if host in ("127.0.0.1", "::1") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{record.port}"


def ask(host: str, port: int, patience: float) -> dict[str, Any] | None:
    """Return what is answered to `GET /health`, or None if that is nothing of ours."""
    status, body = _get(host, port, "/health", patience)
    return _object(body) if status == b"200" else None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class Inside(NamedTuple):
    """What a running gateway tells only to who has a token."""

    #: whether the token that is written down is refused; None if that cannot be told
    token_drift: bool | None = None
    #: its answer to `GET /api/work`
    work: dict[str, Any] | None = None


def inside(found: Look, secret: str | None) -> Inside:
    """Ask a running gateway with the token that is written down.

    Wrong tokens are counted there, but keep no right one out.
    """
    if found.state is not State.RUNNING or found.record is None:
        return Inside()
    given = "" if secret is None else f"Authorization: Bearer {secret}\r\n"
    status, body = _get(reachable(found.record.host), found.record.port, "/api/work", PATIENCE, given)
    drift = {b"200": False, b"401": True, b"429": True}.get(status)
    return Inside(drift, _object(body) if status == b"200" else None)


def _get(host: str, port: int, path: str, patience: float, headers: str = "") -> tuple[bytes, bytes]:
    """Return the status and the body of an answer; empty if there is none."""
    deadline = time.monotonic() + patience
    try:
        with socket.create_connection((host, port), timeout=patience) as connection:
            name = f"[{host}]" if ":" in host else host
            # HTTP/1.0: the answer ends with the connection and is in one piece.
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {name}:{port}\r\n{headers}\r\n".encode())
            data = _read(connection, deadline)
    except OSError:
        return b"", b""
    head, _, body = data.partition(b"\r\n\r\n")
    return b"".join(head.split(b" ")[1:2]), body


def _read(connection: socket.socket, deadline: float) -> bytes:
    data = b""
    while len(data) < LONGEST:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        block = connection.recv(LONGEST)
        if not block:
            break
        data += block
    return data
