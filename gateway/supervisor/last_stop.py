"""The time and the reason of the last stop: a small file next to the lock file.

Standard library only, so that `gateway status` is quick.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import NamedTuple

from gateway import private_file

#: bytes of the file that are read
MAX_LAST_STOP_BYTES = 16 * 1024
#: characters of the stored reason
MAX_REASON_CHARS = 500


class LastStop(NamedTuple):
    """How a gateway ended."""

    #: id of the start that ended
    instance: str
    #: when, in milliseconds since 1970 UTC
    at: int
    #: exit code
    code: int
    reason: str


def write_last_stop(lock: Path, instance: str, code: int, reason: str) -> None:
    """Record that a gateway ends now; ignore disk errors, because it must end."""
    found = LastStop(instance, time.time_ns() // 1_000_000, code, reason[:MAX_REASON_CHARS])
    with contextlib.suppress(OSError):
        private_file.replace_private_file(_last_stop_path(lock), json.dumps(found._asdict()).encode())


def read_last_stop(lock: Path) -> LastStop | None:
    """Return how the last gateway of a config ended; None if there is no valid record."""
    try:
        found = LastStop(**json.loads(private_file.read_private_file(_last_stop_path(lock), MAX_LAST_STOP_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    fits = all(type(value) is (int if name in ("at", "code") else str) for name, value in found._asdict().items())
    return found if fits else None


def _last_stop_path(lock: Path) -> Path:
    return lock.with_suffix(".ended")
