"""Under a service manager: notifications to it, sockets from it, and sockets that it stores."""

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
from harness import faults
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE, until_sync

pytestmark = [pytest.mark.service, pytest.mark.skipif(sys.platform == "win32", reason="systemd")]


class Manager:
    """systemd's side of sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.told: list[str] = []
        #: stored file descriptors, by name
        self.stored: dict[str, socket.socket] = {}

    def hears(self, word: str) -> bool:
        """Receive new messages, and return whether a word is in any message so far."""
        while select.select([self._socket], [], [], 0)[0]:
            data, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 4)
            said = data.decode().splitlines()
            self.told += said
            name = next((line.removeprefix("FDNAME=") for line in said if line.startswith("FDNAME=")), "")
            for descriptor in descriptors:
                self.stored[name] = socket.socket(fileno=descriptor)
            if "FDSTOREREMOVE=1" in said and name in self.stored:
                self.stored.pop(name).close()
        return word in self.told

    def close(self) -> None:
        for one in (self._socket, *self.stored.values()):
            one.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with contextlib.closing(Manager(tmp_path / "n")) as made:
        yield made


def test_systemd_is_notified_of_each_stage_even_after_a_hard_restart(
    live: Callable[..., Live], manager: Manager
) -> None:
    one = live(env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "400000"})
    one.home.chmod(0o700)
    shell = Shell(one.env, one.home)
    one.start()
    until_sync(lambda: manager.hears("READY=1"), "it is ready")
    until_sync(lambda: manager.hears("WATCHDOG=1"), "it is alive")
    assert "STATUS=generation 1 serves" in manager.told
    manager.told.clear()

    with shell.start("restart", "--hard") as asked:  # the manager must keep receiving, or it would miss messages
        until_sync(lambda: manager.hears("STATUS=generation 2 serves"), "the next one serves")
        asked.communicate(timeout=PATIENCE)
    assert asked.returncode == 0
    assert manager.told.index("RELOADING=1") < manager.told.index("READY=1")
    manager.told.clear()
    until_sync(lambda: manager.hears("WATCHDOG=1"), "it is still alive")

    assert one.stop() == 0
    assert manager.hears("STOPPING=1")


def test_systemd_sees_that_a_failed_reload_is_over(live: Callable[..., Live], manager: Manager) -> None:
    one = live(env={"NOTIFY_SOCKET": str(manager.path)})
    one.home.chmod(0o700)
    one.start()
    until_sync(lambda: manager.hears("READY=1"), "it is ready")
    manager.told.clear()
    one.config.write_text("{")

    assert Shell(one.env, one.home)("restart").code == 1

    until_sync(lambda: manager.hears("READY=1"), "it is ready again")
    assert manager.hears("RELOADING=1")


def test_a_start_that_crashes_is_not_reported_as_ready(live: Callable[..., Live], manager: Manager) -> None:
    one = faults.able(live(env={"NOTIFY_SOCKET": str(manager.path)}))
    faults.give(one, faults.NO_IMPORT)
    one.start(wait=False)

    one.wait_logged("generation.crashed", 2)

    assert not manager.hears("READY=1")


#: becomes the gateway as systemd starts it: with a file descriptor 3, and its name
_AS_SYSTEMD = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True)\n"
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=sys.argv[2])\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'gateway'])\n"
)


def hand_over(one: Live, held: socket.socket, name: str) -> None:
    """Start a gateway with an inherited socket of a name."""
    words = [sys.executable, "-c", _AS_SYSTEMD, str(held.fileno()), name]
    with one.output.open("a") as said:
        one.process = subprocess.Popen(
            words, env=one.env, cwd=one.home, stdout=said, stderr=said, text=True, pass_fds=[held.fileno()]
        )


def test_a_socket_from_systemd_is_used_and_its_variables_are_not_inherited(
    live: Callable[..., Live], manager: Manager
) -> None:
    one = live(env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "9000000"})
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        hand_over(one, held, "web")
    until_sync(lambda: one.record is not None, "it runs")
    one.wait_ready()

    assert one.port == port
    variables = Path(f"/proc/{one.generation.pid}/environ").read_bytes().split(b"\0")
    assert [v for v in variables if v.partition(b"=")[0].decode() in notify.SYSTEMD_VARIABLES] == []
    assert one.process is not None
    assert os.path.exists(f"/proc/{one.process.pid}")


def test_a_socket_stored_by_systemd_is_used_again(live: Callable[..., Live], manager: Manager) -> None:
    one = live(env={"NOTIFY_SOCKET": str(manager.path)})
    one.start()
    until_sync(lambda: manager.hears("READY=1"), "it is ready")
    port = one.port
    one.kill()
    ((name, kept),) = manager.stored.items()
    with socket.create_connection(("127.0.0.1", port)) as early:  # no process serves yet, and no client is refused
        early.sendall(b"GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n")
        hand_over(one, kept, name)
        one.wait_ready()

        early.settimeout(PATIENCE)
        assert early.recv(100).startswith(b"HTTP/1.0 200")
    assert one.port == port


def test_a_socket_stored_for_another_address_is_closed(live: Callable[..., Live], manager: Manager) -> None:
    one = live(env={"NOTIFY_SOCKET": str(manager.path)})
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        hand_over(one, held, "moongate-0123456789abcdef")
        one.wait_ready()

        assert one.port != port
    until_sync(lambda: manager.hears("FDNAME=moongate-0123456789abcdef"), "the socket is given up")
    assert manager.told[:2] == ["FDSTOREREMOVE=1", "FDNAME=moongate-0123456789abcdef"]


def test_a_stopped_gateway_leaves_no_socket_stored(live: Callable[..., Live], manager: Manager) -> None:
    one = live(env={"NOTIFY_SOCKET": str(manager.path)})
    one.start()
    until_sync(lambda: manager.hears("READY=1"), "it is ready")
    assert len(manager.stored) == 1

    one.stop()

    assert manager.hears("FDSTOREREMOVE=1")
    assert manager.stored == {}


def test_after_a_change_of_address_the_new_socket_is_stored(
    live: Callable[..., Live], manager: Manager, free_port: int
) -> None:
    one = live(env={"NOTIFY_SOCKET": str(manager.path)})
    one.home.chmod(0o700)
    one.start()
    until_sync(lambda: manager.hears("READY=1"), "it is ready")
    (before,) = manager.stored

    one.config.write_text(one.config.read_text().replace('"port": 0', f'"port": {free_port}'))
    with Shell(one.env, one.home).start("restart") as asked:
        until_sync(lambda: manager.hears("STATUS=generation 2 serves"), "the next one serves")
        asked.communicate(timeout=PATIENCE)

    assert before not in manager.stored
    assert [kept.getsockname()[1] for kept in manager.stored.values()] == [free_port]
