"""A real gateway: its own processes, its own state directory, real signals.

`process` is the supervisor, whose PID is in the lock's record; its `generation` is the serving process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from gateway import paths
from gateway.process import identity
from gateway.process.identity import Identity
from gateway.supervisor import record, terminate
from harness.live_store import LiveSqlite, LiveStore
from harness.waiting import PATIENCE, until_sync


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]


class Live:
    """One state directory and the gateway that serves it; start and stop it as often as needed."""

    def __init__(
        self,
        home: Path,
        config: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        store: LiveStore | None = None,
        *,
        prefix: Sequence[str] = (),
        address: str = "127.0.0.1",
    ) -> None:
        """Args:
        store: a SQLite file in the data directory if not given.
        prefix: begins the command that starts it, such as one that enters another network namespace.
        address: where it listens, by its config.
        """
        self.home = home
        self._store = store or LiveSqlite()
        self.address = address
        self._prefix = prefix
        home.mkdir(parents=True, exist_ok=True)
        self.config = home / "config.json"
        settings = {"gateway": {"port": 0}, "agents": {"list": [{"id": "main", "backend": "echo", "script": True}]}}
        settings |= config or {}
        settings["gateway"] = {"port": 0} | settings.get("gateway", {})
        self.config.write_text(json.dumps(settings))
        # The tests do not measure how long a busy machine takes to start or schedule a process.
        own = {"HOME": str(home), "MOONGATE_HOME": str(home), "PYTHONWARNINGS": "error"}
        own |= {"MOONGATE_READY_TIMEOUT": str(2 * PATIENCE), "MOONGATE_HANG_TIMEOUT": str(2 * PATIENCE)}
        keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.env = {**keep, **own, **self._store.env, **(env or {})}
        self.process: subprocess.Popen[str] | None = None
        self.output = home / "console.txt"
        self.log = paths.log_file(home, self.config)

    def start(self, *arguments: str, wait: bool = True) -> Live:
        """Start the gateway, and wait until it answers."""
        with self.output.open("a") as console:
            self.process = subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "gateway", *arguments],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self.home,
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the gateway ended with {self.process.returncode}: {self.output.read_text()}")
            if self.record is not None and self.record.pid == self.process.pid:
                try:
                    if self.call("GET", "/readyz").status == 200:
                        return
                except OSError:
                    pass
            time.sleep(0.02)
        raise AssertionError(f"not ready in {PATIENCE} s: {self.output.read_text()}")

    def rows(self, query: str) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a query, in SQLite's dialect, on the store of a gateway that does not run."""
        return self._store.rows(self.home / "data", query)

    def check_store(self) -> None:
        """Check that nothing in the store is damaged."""
        self._store.check(self.home / "data")

    @property
    def record(self) -> record.Record | None:
        return record.read_record(paths.lock_file(self.home, self.config))

    @property
    def port(self) -> int:
        found = self.record
        assert found is not None
        return found.port

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().strip()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Answer:
        """Return the answer to one request with the gateway's token, whatever its status."""
        token = self.token if (self.home / "token").exists() else None
        return call(self.url, method, path, body, token=token, headers=headers, timeout=timeout)

    def stop(self) -> int:
        """End it with SIGTERM, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Kill all its processes, as a crash of the machine does.

        The supervisor goes first, so that it replaces none; the others are frozen before, so that none ends its work.
        """
        assert self.process is not None
        generations = self.generations
        for one in generations:
            terminate.signal_process(one, signal.SIGSTOP)
        self.process.kill()
        self.process.wait(PATIENCE)
        for one in generations:
            terminate.signal_process(one, signal.SIGKILL)
        for one in generations:
            assert terminate.wait_gone(one, PATIENCE)

    def close(self) -> None:
        """End all processes that the test has left."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        found = self.record
        if found is not None and found.is_alive and found.configPath == str(self.config):  # started by a command
            terminate.end_gateway(found, 0, signal.SIGKILL)

    @property
    def generations(self) -> list[Identity]:
        """Return the serving processes, the oldest first."""
        found = self.record
        if found is None or not found.is_alive:
            return []
        try:
            children = psutil.Process(found.pid).children()
        except psutil.Error:
            return []
        return [who for who in (identity.identify_process(child.pid) for child in children) if who is not None]

    @property
    def generation(self) -> Identity:
        """Return the only serving process, as soon as there is only one."""
        until_sync(lambda: len(self.generations) == 1, "there is one serving process")
        return self.generations[0]

    def signal(self, number: int, who: Identity | None = None) -> None:
        """Send a signal to the supervisor, or to one serving process."""
        target = who or (self.record and self.record.process_identity)
        assert target is not None
        assert terminate.signal_process(target, number)

    @property
    def health(self) -> dict[str, Any]:
        return dict(self.call("GET", "/health").body)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of an event, from rotated files, too."""
        lines = [
            _parsed(line)
            for file in sorted(self.log.parent.glob("gateway.log*"), reverse=True)
            for line in file.read_bytes().splitlines()
        ]
        return [line for line in lines if isinstance(line, dict) and line.get("event") == event]

    def wait_logged(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the log lines of an event as soon as there are `count`."""
        until_sync(lambda: len(self.logged(event)) >= count, f"{event} is logged {count} times")
        return self.logged(event)

    def wait_led(self, after: int = 1) -> None:
        """Wait until a generation later than number `after` has taken over.

        A gateway answers before its first generation has said that it leads, so the log may have no such line yet.
        """
        until_sync(
            lambda: any(line["generation"] > after for line in self.logged("generation.leads")),
            f"a generation after number {after} leads",
        )


def call(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None,
    headers: Mapping[str, str] | None = None,
    timeout: float = PATIENCE,
) -> Answer:
    """Return the answer to one request, whatever its status."""
    sent = {"Authorization": f"Bearer {token}"} if token is not None else {}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        sent["Content-Type"] = "application/json"
    request = urllib.request.Request(url + path, data=data, method=method, headers={**sent, **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return Answer(response.status, _parsed(response.read()), dict(response.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, _parsed(error.read()), dict(error.headers))


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")
