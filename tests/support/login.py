"""A real `systemd --user`: a user's session with Moongate installed, in its own namespaces.

The user's commands run through `nsenter`; the gateway serves on this machine's loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.command_line import Result
from harness.live_gateway import Answer, call
from harness.waiting import PATIENCE, until_sync

PROJECT = Path(__file__).parent.parent.parent
USER = 61234
UNIT = "moongate.service"
#: a home directory whose name needs every kind of escaping
ODD = "/mnt/home/a b 100%h 'c' \"d\" żółć"


@cache
def missing() -> str | None:
    """Return why a manager cannot run here; None if it can.

    Raises:
        AssertionError: `MOONGATE_TEST_ALL` is set, and a program is missing.
    """
    if sys.platform != "linux" or os.getuid() != 0:
        return "only root on Linux can start a real systemd --user"
    programs = ("systemctl", "systemd-analyze", "unshare", "nsenter", "setpriv", "/lib/systemd/systemd")
    absent = [name for name in programs if shutil.which(name) is None]
    if absent:
        assert not os.environ.get("MOONGATE_TEST_ALL"), f"all tests must run, but {absent[0]} is not installed"
        return f"{absent[0]} is not installed: install systemd"
    tried = subprocess.run(["unshare", "--mount", "sh", "-c", _TRIAL], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"cannot create a cgroup here: {tried.stderr.strip()}"


#: tests what a manager needs: it must be able to create a cgroup
_TRIAL = "mount -t cgroup2 cgroup2 /mnt && mkdir /mnt/moongate-trial.$$ && rmdir /mnt/moongate-trial.$$"


class Login:
    """A session of an ordinary user, from login to logout."""

    def __init__(self, home: str = "/mnt/home/gwtest") -> None:
        if (why := missing()) is not None:
            pytest.skip(why)
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
        """Log out: all processes of the session end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> Result:
        """Run a command as the user until it ends."""
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
        """Return a property of the unit, as the manager reports it."""
        return self.systemctl("show", UNIT, f"--property={name}", "--value").out.strip()

    def wait_state(self, state: str) -> None:
        until_sync(lambda: self.show("ActiveState") == state, f"the unit is {state}", PATIENCE)

    def write(self, path: Path, text: str) -> None:
        """Write a file that the user owns."""
        for directory in reversed([one for one in path.parents if one.is_relative_to(self.home)]):
            if not directory.exists():
                directory.mkdir(mode=0o700)
                os.chown(directory, USER, USER)
        path.write_text(text)
        os.chown(path, USER, USER)

    def configure(self, *agents: Mapping[str, Any]) -> None:
        """Write a config with a scripted agent, the given agents, and any free port."""
        listed = [{"id": "main", "backend": "echo", "script": True}, *agents]
        self.write(self.state / "config.json", json.dumps({"gateway": {"port": 0}, "agents": {"list": listed}}))

    def hasten(self, **settings: str) -> None:
        """Give the unit shorter times."""
        lines = ["[Service]", "RestartSec=200ms", *(f"{name}={value}" for name, value in settings.items())]
        self.write(self.unit.parent / f"{UNIT}.d" / "hasten.conf", "\n".join(lines) + "\n")

    def install(self, *words: str) -> dict[str, Any]:
        done = self.gateway("install", "--json", *words)
        assert done.code == 0, done.err
        return dict(done.json)

    @property
    def record(self) -> dict[str, Any]:
        """Return the gateway's record in its lock file."""
        (file,) = (self.state / "locks").glob("gateway.*.lock")
        return dict(json.loads(file.read_text()))

    @property
    def log(self) -> str:
        return (self.state / "logs/gateway.log").read_text("utf-8")

    @property
    def command_lines(self) -> str:
        """Return the command lines of all processes of the session, and the environments of the user's processes."""
        return self.run("sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true").out

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
        """Return the answer to one request, with the gateway's token or the given one."""
        token = token or (self.state / "token").read_text().strip()
        return call(f"http://127.0.0.1:{self.record['port']}", method, path, body, token=token)

    @property
    def health(self) -> dict[str, Any]:
        """Return the gateway's health; empty while it does not answer."""
        try:
            return dict(self.call("GET", "/health").body)
        except (OSError, ValueError):
            return {}

    def wait_health(self, condition: Callable[[dict[str, Any]], object], what: str) -> None:
        """Wait until the gateway answers and its health meets the condition."""

        def holds() -> object:
            found = self.health
            return found and condition(found)

        until_sync(holds, what, PATIENCE)
