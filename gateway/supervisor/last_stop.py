"""When the gateway ended, and why: a small file beside the lock, for whoever asks afterwards.

Standard library only, so that `gateway status` is quick.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

#: bytes of the file that are read
LONGEST = 16 * 1024
#: characters of a reason that are kept
REASON = 500


class LastStop(NamedTuple):
    """How a gateway ended that could still say so."""

    #: the start that ended
    instance: str
    #: when, in milliseconds since 1970 UTC
    at: int
    #: exit code
    code: int
    reason: str


def write(lock: Path, instance: str, code: int, reason: str) -> None:
    """Write down that a gateway ends now; a disk that refuses does not keep it from ending."""
    path = _beside(lock)
    draft = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    found = LastStop(instance, time.time_ns() // 1_000_000, code, reason[:REASON])
    try:
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            file.write(json.dumps(found._asdict()).encode())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()


def read(lock: Path) -> LastStop | None:
    """Return how the last gateway of a config ended; None if none has said so. A link is not followed."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(_beside(lock), flags)
    except OSError:
        return None
    try:
        found = LastStop(**json.loads(os.read(descriptor, LONGEST)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    finally:
        os.close(descriptor)
    fits = all(type(value) is (int if name in ("at", "code") else str) for name, value in found._asdict().items())
    return found if fits else None


def _beside(lock: Path) -> Path:
    return lock.with_suffix(".ended")
