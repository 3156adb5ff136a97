"""Signal handling: a signal only writes its number into a pipe, and the loop handles it."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Iterable
from typing import Any

#: signals that the supervisor handles; not all systems have all of them
HANDLED_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGBREAK", "SIGHUP", "SIGUSR1", "SIGCHLD")
    if hasattr(signal, name)
]
#: signals that stop the gateway; Windows has one more, for a closed console
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)]
#: a signal that a process cannot ignore; on Windows, no signal can be ignored
KILL_SIGNAL = getattr(signal, "SIGKILL", signal.SIGTERM)
#: a child has ended; the settings must be read again
CHILD_SIGNAL, RELOAD_SIGNAL = (getattr(signal, name, 0) for name in ("SIGCHLD", "SIGHUP"))


def block_restart_signal() -> None:
    """Block SIGUSR1 until it has a handler: without one, it kills the process. Call this first."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])


def block_handled() -> None:
    """Block all handled signals: across a re-execution they wait for the next `SignalInbox`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)


def unblock_handled() -> None:
    """Unblock all handled signals."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)


class SignalInbox:
    """A pipe that becomes readable when a signal has come."""

    def __init__(self, handled: Iterable[signal.Signals] = HANDLED_SIGNALS) -> None:
        self._reader, writer = os.pipe()
        for descriptor in (self._reader, writer):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in handled:
            signal.signal(number, _do_nothing)
        unblock_handled()

    def fileno(self) -> int:
        return self._reader

    def wait_with(self, sources: Iterable[Any], seconds: float) -> None:
        """Sleep until a signal has come or a source is readable, for at most `seconds`."""
        with selectors.PollSelector() as selector:  # needs no descriptor: there may be none left
            for source in (self, *sources):
                selector.register(source, selectors.EVENT_READ)
            selector.select(seconds)

    def take_signals(self) -> list[signal.Signals]:
        """Return the signals that came, in order."""
        try:
            return [signal.Signals(number) for number in os.read(self._reader, 4096)]
        except BlockingIOError:
            return []


def _do_nothing(number: int, frame: object) -> None:
    """Do nothing: Python writes to the pipe only for signals with a handler."""
