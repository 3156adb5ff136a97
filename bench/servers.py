"""The two sides, each in its own process on a free loopback port: the gateway, and bare servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOKEN = "a-token-for-benchmarks-of-some-length"
#: seconds until a server must answer
PATIENCE = 30.0
#: the directory that contains `bench`
ROOT = Path(__file__).parents[1]

_HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class Server:
    """A running server."""

    def __init__(self, command: Sequence[str], port: int, env: Mapping[str, str], output: int, path: str) -> None:
        self.port = port
        #: path that takes messages
        self.path = path
        began = time.perf_counter()
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        #: seconds from the process's start to the first 200
        self.took = time.perf_counter() - began

    @property
    def pid(self) -> int:
        return self._process.pid

    def post(self, path: str, body: Any) -> bytes:
        """Return a request with a JSON body, as bytes."""
        return self.post_bytes(path, json.dumps(body).encode(), "application/json")

    def post_bytes(self, path: str, body: bytes, media_type: str = "application/octet-stream") -> bytes:
        """Return a request with a body, as bytes."""
        more = f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
        return self._make_head("POST", path, more) + body

    def get(self, path: str) -> bytes:
        """Return a request without a body, as bytes."""
        return self._make_head("GET", path)

    def _make_head(self, method: str, path: str, more: str = "") -> bytes:
        return (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {TOKEN}\r\n{more}\r\n"
        ).encode()

    def exchange(self, request: bytes) -> bytes:
        """Send one request over a new connection, and return the first part of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(request)
            return connection.recv(65536)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.exchange(_HEALTH).startswith(b"HTTP/1.1 200"):
                    return
            except OSError:
                time.sleep(0.001)
        raise RuntimeError(f"the server does not answer (exit code {self._process.poll()})")


@contextmanager
def bare(program: str = "aiohttp_echo", python: str = sys.executable) -> Iterator[Server]:
    """Run a program of `bench/bare`."""
    port = free_port()
    command = [python, str(ROOT / "bench" / "bare" / f"{program}.py"), str(port), TOKEN]
    with _running(command, port, _environment(), subprocess.DEVNULL, "/echo") as server:
        yield server


@contextmanager
def gateway(home: Path, settings: Mapping[str, Any] | None = None) -> Iterator[Server]:
    """Run the gateway in the foreground, as `gateway run` does, with its console in a file.

    Args:
        home: its state directory, which the next start uses again.
        settings: added to the usual ones: an echo agent, and limits that no benchmark reaches.
    """
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    given = {
        "gateway": {"port": port, "auth": {"token": TOKEN}, "stop_grace": 0},
        "agents": {"list": [{"id": "main", "backend": "echo"}]},
        "limits": {"queue": 100_000_000},
        **(settings or {}),
    }
    (home / "config.json").write_text(json.dumps(given))
    with (home / "console.txt").open("ab") as console:
        command = [sys.executable, "-m", "gateway"]
        with _running(command, port, environment(home), console.fileno(), "/api/message") as server:
            yield server


def environment(home: Path) -> dict[str, str]:
    """Return the environment for commands that use one state directory."""
    return {**_environment(), "HOME": str(home), "MOONGATE_HOME": str(home), "PYTHONPATH": str(ROOT)}


@contextmanager
def _running(command: Sequence[str], port: int, env: Mapping[str, str], output: int, path: str) -> Iterator[Server]:
    server = Server(command, port, env, output, path)
    try:
        yield server
    finally:
        server.stop()


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
