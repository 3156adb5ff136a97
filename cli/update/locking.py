"""Lets nothing come between the steps of an update: no other update, and no Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from cli.instance import Instance
from cli.update import journal
from cli.update.installation import Installation
from gateway import paths
from gateway.errors import AlreadyRunning
from gateway.supervisor import lock


@contextlib.contextmanager
def hold_lock(instance: Instance, site: Installation) -> Iterator[None]:
    """Let no other update begin, neither of this gateway nor of another one with the same environment.

    Raises:
        AlreadyRunning: one is under way.
    """
    with _hold_environment(site.candidate.parent), _hold_state(instance):
        yield


@contextlib.contextmanager
def _hold_environment(place: Path) -> Iterator[None]:
    if os.name == "nt":
        yield
        return
    import fcntl  # late: does not exist on Windows

    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _refuse_second() from None
        except OSError:  # some file systems have no locks
            pass
        yield
    finally:
        os.close(descriptor)


def _refuse_second() -> AlreadyRunning:
    return AlreadyRunning("another `gateway update` is under way.", remedy="Wait until it has ended.")


@contextlib.contextmanager
def _hold_state(instance: Instance) -> Iterator[None]:
    held = lock.try_lock(paths.locks_directory(instance.home) / journal.UPDATE_LOCK_FILE)
    if held is None:
        raise _refuse_second()
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def hold_signals() -> Iterator[None]:
    """Let Ctrl-C and a lost terminal wait until the block has ended: in between, no version would be whole."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
