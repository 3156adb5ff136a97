"""Messages to systemd, and the sockets that it stores, with a real datagram socket in its place."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.supervisor.notify import Notifier, _stored_name

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="systemd has sockets of files")

HOST, PORT = "127.0.0.1", 18790
OURS = _stored_name(HOST, PORT)


class Manager:
    """The service manager's end."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify"
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.line.bind(str(self.path))
        self.line.setblocking(False)

    def read_messages(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.line.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.line.close()


def notifier(manager: Manager, **variables: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": str(manager.path), **variables})


def store(notify: Notifier, *names: str) -> list[socket.socket]:
    """Give it descriptors of listening sockets under these names, as if the manager had; return our own ends."""
    sockets = [socket.create_server((HOST, 0)) for _ in names]
    notify.descriptors = {os.dup(one.fileno()): name for one, name in zip(sockets, names, strict=True)}
    return sockets


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("before", [[], ["moongate-0000000000000000"]], ids=["first", "after another"])
@pytest.mark.parametrize("name", [OURS, "gateway.socket", "unknown"])
def test_the_socket_of_the_address_or_of_a_socket_unit_is_taken(manager: Manager, name: str, before: list[str]) -> None:
    notify = notifier(manager)
    sockets = store(notify, *before, name)
    given = list(notify.descriptors)

    found = notify.take_listener(HOST, PORT)

    assert found is not None
    assert found.getsockname() == sockets[-1].getsockname()
    assert not found.get_inheritable()
    assert [is_open(one) for one in given] == [False] * len(before) + [True]
    assert manager.read_messages() == [f"FDSTOREREMOVE=1\nFDNAME={other}" for other in before]
    for one in (found, *sockets):
        one.close()


def test_the_sockets_of_other_addresses_are_closed_here_and_in_the_manager(manager: Manager) -> None:
    notify = notifier(manager)
    others = [_stored_name(HOST, 1), _stored_name("::1", PORT)]
    sockets = store(notify, *others)
    given = list(notify.descriptors)

    assert notify.take_listener(HOST, PORT) is None
    assert not any(map(is_open, given))
    assert manager.read_messages() == [f"FDSTOREREMOVE=1\nFDNAME={name}" for name in others]
    assert notify.descriptors == {}
    for one in sockets:
        one.close()


def test_only_one_of_two_sockets_is_taken_and_the_other_is_closed(manager: Manager) -> None:
    notify = notifier(manager)
    sockets = store(notify, OURS, "gateway.socket")
    first, second = notify.descriptors

    found = notify.take_listener(HOST, PORT)

    assert found is not None
    assert found.fileno() == first
    assert not is_open(second)
    for one in (found, *sockets):
        one.close()


def test_a_descriptor_that_is_no_socket_is_refused(manager: Manager) -> None:
    notify = notifier(manager)
    reader, writer = os.pipe()
    notify.descriptors = {reader: "gateway.socket"}

    with pytest.raises(ConfigError, match=f"LISTEN_FDS: descriptor {reader} is not a socket"):
        notify.take_listener(HOST, PORT)
    for descriptor in (reader, writer):
        os.close(descriptor)


def test_descriptors_for_another_process_are_not_taken(manager: Manager) -> None:
    given = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}

    assert notifier(manager, **given, LISTEN_PID=str(os.getppid())).descriptors == {}
    assert notifier(manager, **given).descriptors == {}
    assert notifier(manager, **given, LISTEN_PID=str(os.getpid())).descriptors == {3: "a", 4: "b"}


def test_a_socket_is_stored_with_its_descriptor_and_removed_by_its_name(manager: Manager) -> None:
    notify = notifier(manager)
    with socket.create_server((HOST, 0)) as listener:
        notify.store_listener(listener, HOST, PORT)
        message, (descriptor,), *_ = socket.recv_fds(manager.line, 4096, 4)
        assert message.decode() == f"FDSTORE=1\nFDPOLL=0\nFDNAME={OURS}"
        with socket.socket(fileno=descriptor) as passed:
            assert passed.getsockname() == listener.getsockname()
    notify.remove_listener(HOST, PORT)

    assert manager.read_messages() == [f"FDSTOREREMOVE=1\nFDNAME={OURS}"]


@pytest.mark.timeout(120)
def test_a_manager_that_reads_nothing_does_not_hold_up_the_gateway(manager: Manager) -> None:
    notify = notifier(manager)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.setblocking(False)
        line.connect(str(manager.path))
        with contextlib.suppress(BlockingIOError):
            while line.send(b"x"):
                pass
    began = time.monotonic()

    notify.send_state(READY=1)

    assert time.monotonic() - began < 10


def test_a_manager_that_is_gone_is_ignored(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send_state(READY=1)
    Notifier({}).send_state(READY=1)


def test_the_watchdog_is_pinged_when_half_of_its_time_is_over(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = notifier(manager, WATCHDOG_USEC="20000000", WATCHDOG_PID=str(os.getpid()))
    assert notify.interval == 10.0
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    pings = []
    for clock[0] in (1_000.0, 1_009.0, 1_010.0, 1_011.0, 1_020.0):
        notify.ping_watchdog()
        pings.append(len(manager.read_messages()))

    assert pings == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("variables", [{}, {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}])
def test_nobody_is_pinged_who_did_not_ask(manager: Manager, variables: dict[str, str]) -> None:
    notify = notifier(manager, **variables)
    notify.ping_watchdog()

    assert manager.read_messages() == []


def test_children_do_not_see_the_variables(manager: Manager) -> None:
    env = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1", "LISTEN_FDS": "1", "PATH": "/bin"}
    notify = Notifier(env)

    assert env == {"PATH": "/bin"}
    assert notify.kept == {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1"}
