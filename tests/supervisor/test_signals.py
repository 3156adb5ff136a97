"""The signals of the supervisor wake it, and come one after another."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from gateway.supervisor.signals import SignalInbox

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
#: seconds for something that happens at once
PATIENCE = 20.0


@pytest.fixture
def inbox() -> Iterator[SignalInbox]:
    handled = (signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in handled}
    wakeup = signal.set_wakeup_fd(-1)
    made = SignalInbox(handled)
    yield made
    writer = signal.set_wakeup_fd(wakeup)
    for number, handler in before.items():
        signal.signal(number, handler)
    for descriptor in (writer, made.fileno()):
        os.close(descriptor)


def test_signals_are_taken_in_order_and_once(inbox: SignalInbox) -> None:
    assert inbox.take_signals() == []
    for number in (signal.SIGUSR2, signal.SIGUSR1):
        signal.raise_signal(number)

    assert inbox.take_signals() == [signal.SIGUSR2, signal.SIGUSR1]
    assert inbox.take_signals() == []


def test_nothing_wakes_the_supervisor_before_its_time(inbox: SignalInbox) -> None:
    began = time.monotonic()
    inbox.wait_with([], 0.2)

    assert time.monotonic() - began >= 0.19


@pytest.mark.parametrize("by", ["signal", "source"])
def test_a_signal_or_a_source_ends_the_wait(inbox: SignalInbox, by: str) -> None:
    ours, theirs = socket.socketpair()

    def wake() -> None:
        os.kill(os.getpid(), signal.SIGUSR1) if by == "signal" else theirs.send(b"x")

    began = time.monotonic()
    timer = threading.Timer(0.05, wake)
    timer.start()
    with ours, theirs:
        inbox.wait_with([ours], PATIENCE)
        assert time.monotonic() - began < PATIENCE
        timer.join()
    assert inbox.take_signals() == ([signal.SIGUSR1] if by == "signal" else [])
