"""A real gateway: its own process, its own state directory, real signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from gateway import paths
from gateway.supervisor import record

#: seconds that anything may take here; ten times what it needs
PATIENCE = 30.0


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]


class Live:
    """One state directory and the gateway that serves it; start and stop it as often as needed."""

    def __init__(
        self, home: Path, config: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.config = home / "config.json"
        settings = {"gateway": {"port": 0}, "agents": {"list": [{"id": "main", "backend": "echo", "script": True}]}}
        settings |= config or {}
        settings["gateway"] = {"port": 0} | settings.get("gateway", {})
        self.config.write_text(json.dumps(settings))
        keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.env = {**keep, "HOME": str(home), "MOONGATE_HOME": str(home), "PYTHONWARNINGS": "error", **(env or {})}
        self.process: subprocess.Popen[str] | None = None
        self.output = home / "console.txt"

    def start(self, *arguments: str, wait: bool = True) -> Live:
        """Start the gateway, and wait until it answers."""
        with self.output.open("a") as console:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", *arguments],
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

    @property
    def record(self) -> record.Record | None:
        return record.read(paths.lock(self.home, self.config))

    @property
    def port(self) -> int:
        found = self.record
        assert found is not None
        return found.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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
        """Make one request with the gateway's token; an error status is an answer, too."""
        sent = {"Authorization": f"Bearer {self.token}"} if (self.home / "token").exists() else {}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data=data, method=method, headers={**sent, **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return Answer(response.status, _parsed(response.read()), dict(response.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _parsed(error.read()), dict(error.headers))

    def stop(self) -> int:
        """End it politely and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    @property
    def generations(self) -> list[psutil.Process]:
        """The serving processes of the supervisor that was started."""
        assert self.process is not None
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if "gateway.serve" in child.cmdline()]

    @property
    def serving(self) -> int:
        """PID of the process that answers requests."""
        assert self.process is not None
        generations = self.generations
        return generations[-1].pid if generations else self.process.pid

    def kill(self) -> None:
        """End all of it as a crash does: the supervisor, so that nothing is begun anew, then what serves."""
        assert self.process is not None
        serving = self.generations
        self.process.kill()
        self.process.wait(PATIENCE)
        for generation in serving:
            with contextlib.suppress(psutil.NoSuchProcess):
                generation.kill()
        psutil.wait_procs(serving, PATIENCE)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")
