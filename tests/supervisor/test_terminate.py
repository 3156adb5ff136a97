"""Ending another gateway: its supervisor, then what is left of its serving processes, and nobody else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from gateway.errors import Unavailable
from gateway.process import identity
from gateway.supervisor import terminate
from gateway.supervisor.record import Record
from harness.waiting import until_sync
from tests.support import ports

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

#: a supervisor that ends at SIGTERM, or not, with a child that listens on a port and lives on
PROGRAM = """
import signal, socket, subprocess, sys, time
listener = socket.create_server(("127.0.0.1", 0))
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(
    [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"],
    pass_fds=[listener.fileno()],
)
print(listener.getsockname()[1], child.pid, flush=True)
time.sleep(600)
"""


class Fake:
    def __init__(self, kind: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, kind], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        port, child = self.process.stdout.readline().split()
        self.child = psutil.Process(int(child))
        who = identity.identify_process(self.process.pid)
        assert who is not None
        self.record = Record(who.pid, 0, "", who.started, who.boot, "i", "127.0.0.1", int(port), "1")

    def close(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self.child.kill()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminate, "ORPHAN_GRACE_SECONDS", 0.2)


@pytest.fixture(params=["obedient", "stubborn"])
def fake(request: pytest.FixtureRequest, short_times: None) -> Iterator[Fake]:
    made = Fake(request.param)
    yield made
    made.close()


def test_the_supervisor_and_what_it_leaves_are_ended_and_the_port_is_free(fake: Fake) -> None:
    terminate.end_gateway(fake.record, grace=0.2)

    assert not identity.is_alive(fake.record.process_identity)
    assert terminate.wait_free("127.0.0.1", fake.record.port, 0)
    until_sync(lambda: identity.identify_process(fake.child.pid) is None)


def test_a_port_that_stays_taken_is_told(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminate, "KILL_TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr(terminate, "_child_identities", lambda who: [])  # somebody else holds the port
    with pytest.raises(Unavailable, match=f"the gateway has ended, but port {fake.record.port} is not free"):
        terminate.end_gateway(fake.record, grace=0.2)
    assert fake.child.is_running()


def test_a_process_that_cannot_be_ended_is_told(short_times: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminate, "KILL_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(terminate, "signal_process", lambda who, number: True)  # as in the kernel, uninterruptible
    fake = Fake("obedient")
    try:
        with pytest.raises(Unavailable, match=f"does not end .pid {fake.record.pid}"):
            terminate.end_gateway(fake.record, grace=0.2)
        assert identity.is_alive(fake.record.process_identity)
    finally:
        fake.close()


def test_a_process_with_the_same_number_is_not_signalled(short_times: None) -> None:
    fake = Fake("obedient")
    try:
        other = fake.record.process_identity._replace(started="1")
        assert not terminate.signal_process(other, signal.SIGKILL)
        assert terminate.wait_gone(other, 0)
        with pytest.raises(subprocess.TimeoutExpired):
            fake.process.wait(0.3)
    finally:
        fake.close()


def lowest_free_descriptor() -> int:
    number = os.dup(0)
    os.close(number)
    return number


def test_signals_leave_no_descriptor_open() -> None:
    before = lowest_free_descriptor()
    me = identity.own_identity()

    assert terminate.signal_process(me, 0)
    assert not terminate.signal_process(me._replace(started="1"), 0), "another process had this number"
    assert lowest_free_descriptor() == before


def test_a_port_is_not_kept_by_the_test_whether_it_is_free() -> None:
    number = ports.free()
    before = lowest_free_descriptor()

    assert terminate.wait_free("127.0.0.1", number, 0)
    assert lowest_free_descriptor() == before
