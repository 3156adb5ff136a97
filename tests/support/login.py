"""A real `systemd --user`: a user's session with Moongate installed, in namespaces of its own.

What the user types goes through `nsenter`; what the gateway serves is on this machine's loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.shell import Result
from tests.support.live import Answer, call
from tests.support.waiting import until_sync

PROJECT = Path(__file__).parent.parent.parent
USER = 61234
#: seconds that a command may take here; many times what it needs
PATIENCE = 60.0
UNIT = "moongate.service"
#: a home directory whose name must be escaped in every way
ODD = "/mnt/home/a b 100%h 'c' \"d\" żółć"


def missing() -> str | None:
    """Return why there can be no manager here; None if there can."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "a real systemd --user is started by root on Linux only"
    programs = ("systemctl", "systemd-analyze", "unshare", "nsenter", "setpriv")
    absent = [name for name in programs if shutil.which(name) is None]
    if absent or not Path("/lib/systemd/systemd").exists():
        return f"systemd is not installed ({', '.join(absent)})"
    if "cgroup2" not in Path("/proc/filesystems").read_text():
        return "the kernel has no cgroup2"
    return None


needs_systemd = pytest.mark.skipif(missing() is not None, reason=str(missing()))


class Login:
    """A session of an ordinary user, from login to logout."""

    def __init__(self, home: str = "/mnt/home/gwtest") -> None:
        self._home = home
        self._process = subprocess.Popen(
            [
                "bash",
                str(PROJECT / "tests/support/systemd_user.sh"),
                *(home, str(PROJECT), os.path.realpath(sys.executable), sys.base_prefix),
                sysconfig.get_path("purelib"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the manager did not start"
        self._inside = next(
            child.children()[0].pid
            for child in psutil.Process(self._process.pid).children(recursive=True)
            if child.name() == "unshare"
        )
        self.root = Path(f"/proc/{self._inside}/root")
        self.home = self.root / home.lstrip("/")
        self.state = self.home / ".moongate"
        self.unit = self.home / ".config/systemd/user" / UNIT
        self.env = {
            "HOME": home,
            "USER": "gwtest",
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
            "PATH": "/mnt/moongate/bin:/usr/local/bin:/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.configure()

    def close(self) -> None:
        """Log out: everything ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> Result:
        """Run a command as the user, to its end."""
        inside = ["nsenter", "--target", str(self._inside), "--mount", "--pid", "--cgroup", "--ipc"]
        inside += ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--init-groups"]
        done = subprocess.run(
            [*inside, *words],
            env={**self.env, **(env or {})},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def gateway(self, *words: str, env: Mapping[str, str] | None = None) -> Result:
        return self.run("/mnt/moongate/bin/gateway", *words, env=env)

    def systemctl(self, *words: str) -> Result:
        return self.run("systemctl", "--user", *words, env={"XDG_RUNTIME_DIR": f"/run/user/{USER}"})

    def show(self, name: str) -> str:
        """Return a property of the unit, as the manager has it."""
        return self.systemctl("show", UNIT, f"--property={name}", "--value").out.strip()

    def wait_state(self, state: str) -> None:
        until_sync(lambda: self.show("ActiveState") == state, f"the unit is {state}", PATIENCE)

    def write(self, path: Path, text: str) -> None:
        """Write a file as the user's own."""
        for directory in reversed([one for one in path.parents if one.is_relative_to(self.home)]):
            if not directory.exists():
                directory.mkdir(mode=0o700)
                os.chown(directory, USER, USER)
        path.write_text(text)
        os.chown(path, USER, USER)

    def configure(self, **gateway: Any) -> None:
        """Write a config with a scripted agent, and any free port."""
        agents = {"list": [{"id": "main", "backend": "echo", "script": True}]}
        self.write(self.state / "config.json", json.dumps({"gateway": {"port": 0, **gateway}, "agents": agents}))

    def hasten(self, **settings: str) -> None:
        """Have the manager be quicker than the unit says."""
        lines = ["[Service]", "RestartSec=200ms", *(f"{name}={value}" for name, value in settings.items())]
        self.write(self.unit.parent / f"{UNIT}.d" / "hasten.conf", "\n".join(lines) + "\n")

    def install(self, *words: str) -> dict[str, Any]:
        done = self.gateway("install", "--json", *words)
        assert done.code == 0, done.err + self.said
        return dict(done.json)

    @property
    def said(self) -> str:
        """What the manager said."""
        return (self.root / "mnt/manager.log").read_text("utf-8", "replace")

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.gateway("status", "--json").json)

    @property
    def record(self) -> dict[str, Any]:
        """What the gateway says in its lock file."""
        (file,) = (self.state / "locks").glob("gateway.*.lock")
        return dict(json.loads(file.read_text()))

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Make one request with the gateway's token."""
        token = (self.state / "token").read_text().strip()
        return call(f"http://127.0.0.1:{self.record['port']}", method, path, body, token=token)

    def wait_generation(self, other_than: str) -> dict[str, Any]:
        """Wait until a gateway answers that is not this instance; return its health."""

        def answers() -> dict[str, Any] | None:
            try:
                found = self.call("GET", "/health")
            except (OSError, ValueError):
                return None
            return dict(found.body) if found.status == 200 and found.body["instance"] != other_than else None

        until_sync(answers, "another instance answers", PATIENCE)
        return answers() or {}
