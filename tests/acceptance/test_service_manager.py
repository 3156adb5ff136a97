"""Under a service manager: what it is told, what it hands over, and what it keeps for itself."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.supervisor import notify
from tests.cli.shell import Shell
from tests.support import faults
from tests.support.live import Live
from tests.support.waiting import until_sync

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="systemd")


class Manager:
    """systemd's end of sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.told: list[str] = []

    def hears(self, word: str) -> bool:
        """Take what has come, and look for a word in all that ever came."""
        while select.select([self._socket], [], [], 0)[0]:
            self.told += self._socket.recv(4096).decode().splitlines()
        return word in self.told

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with contextlib.closing(Manager(tmp_path / "n")) as made:
        yield made


def test_systemd_is_told_of_each_stage_also_after_a_hard_restart(live: Callable[..., Live], manager: Manager) -> None:
    one = live(env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "400000"})
    one.home.chmod(0o700)
    shell = Shell(one.env, one.home)
    one.start()
    until_sync(lambda: manager.hears("READY=1"), "it is ready")
    until_sync(lambda: manager.hears("WATCHDOG=1"), "it lives")
    assert "STATUS=generation 1 serves" in manager.told
    manager.told.clear()

    with shell.start("restart", "--hard") as asked:  # a manager that hears nothing meanwhile would miss some
        until_sync(lambda: manager.hears("STATUS=generation 2 serves"), "the next one serves")
        asked.communicate(timeout=30)
    assert asked.returncode == 0
    assert manager.told.index("RELOADING=1") < manager.told.index("READY=1")
    manager.told.clear()
    until_sync(lambda: manager.hears("WATCHDOG=1"), "it lives still")

    assert one.stop() == 0
    assert manager.hears("STOPPING=1")


def test_a_reload_that_fails_is_over_for_systemd_too(live: Callable[..., Live], manager: Manager) -> None:
    one = live(env={"NOTIFY_SOCKET": str(manager.path)})
    one.home.chmod(0o700)
    one.start()
    assert manager.hears("READY=1")
    manager.told.clear()
    one.config.write_text("{")

    assert Shell(one.env, one.home)("restart").code == 1

    assert manager.hears("RELOADING=1")
    assert manager.hears("READY=1")


def test_a_start_that_crashes_is_not_called_ready(live: Callable[..., Live], manager: Manager) -> None:
    one = faults.able(live(env={"NOTIFY_SOCKET": str(manager.path)}))
    faults.give(one, faults.NO_IMPORT)
    one.start(wait=False)

    one.wait_logged("generation.crashed", 2)

    assert not manager.hears("READY=1")


def test_a_socket_from_systemd_is_used_and_its_variables_go_no_further(
    live: Callable[..., Live], manager: Manager
) -> None:
    one = live(env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "9000000"})
    hand_over = (
        "import os, socket, sys\n"
        "s = socket.create_server(('127.0.0.1', 0)); os.dup2(s.fileno(), 3); os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
        "print(s.getsockname()[1], flush=True)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'gateway'])\n"
    )
    with one.output.open("w") as said:
        one.process = subprocess.Popen(
            [sys.executable, "-c", hand_over], env=one.env, cwd=one.home, stdout=said, stderr=said, text=True
        )
    until_sync(lambda: one.record is not None, "it runs")
    one.wait_ready()

    assert one.port == int(one.output.read_text().splitlines()[0])
    variables = Path(f"/proc/{one.generation.pid}/environ").read_bytes().split(b"\0")
    assert [v for v in variables if v.partition(b"=")[0].decode() in notify.OURS] == []
    assert one.process is not None
    assert os.path.exists(f"/proc/{one.process.pid}")
