"""Lets one command at a time change what a state directory keeps for all of them: the settings, and the remotes.

Light, because `gateway remote` uses it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from gateway import paths
from gateway.errors import Unavailable
from gateway.supervisor import lock

#: seconds to wait for another command that changes the config
EDIT_LOCK_TIMEOUT_SECONDS = 10.0
#: seconds between two looks whether it has ended
EDIT_LOCK_POLL_SECONDS = 0.05


@contextlib.contextmanager
def hold_edit_lock(home: Path) -> Iterator[None]:
    """Keep other commands from changing the settings of a state directory.

    Raises:
        Unavailable: another command holds it for long.
    """
    file = paths.locks_directory(paths.make_private_directory(home)) / "config-edit.lock"
    deadline = time.monotonic() + EDIT_LOCK_TIMEOUT_SECONDS
    while (held := lock.try_lock(file)) is None:
        if time.monotonic() > deadline:
            raise Unavailable("another command is changing the settings.", remedy="Try again when it has ended.")
        time.sleep(EDIT_LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        held.release()
