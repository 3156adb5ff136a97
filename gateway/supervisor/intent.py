"""Asking a supervisor to restart, and its answer: two small files beside the lock.

`gateway restart` leaves an intent, bound to the supervisor's PID and good for a minute, and sends
SIGUSR1. So a restart needs no environment variable, and a stray signal does nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any, NamedTuple

#: seconds that an intent is good for
GOOD = 60.0
_LONGEST = 16 * 1024


class Intent(NamedTuple):
    """A restart that somebody asked for."""

    #: which request this is, so that its answer can be told from others
    id: str
    #: the supervisor that is meant
    pid: int
    #: when it was asked for, in seconds since 1970 UTC
    at: float
    hard: bool
    reason: str


class Outcome(NamedTuple):
    """How a restart went."""

    #: the intent that it answers; empty for a bare signal
    id: str
    ok: bool
    #: numbers of the generations before and after
    old: int
    new: int
    error: str


def ask(lock: Path, pid: int, *, hard: bool, reason: str) -> Intent:
    """Leave an intent for a supervisor; the signal is the caller's to send."""
    intent = Intent(secrets.token_hex(8), pid, time.time(), hard, reason)
    _write(_asked(lock), intent._asdict())
    return intent


def take(lock: Path, pid: int) -> Intent | None:
    """Return the intent that was left for this process, once; None if there is none that is good."""
    found: Intent | None = _read(_asked(lock), Intent)
    if found is None or found.pid != pid or not 0 <= time.time() - found.at <= GOOD:
        return None
    _asked(lock).unlink(missing_ok=True)
    return found


def answer(lock: Path, outcome: Outcome) -> None:
    _write(_answered(lock), outcome._asdict())


def answered(lock: Path, intent: Intent) -> Outcome | None:
    """Return how the restart went that an intent asked for; None while it is under way."""
    found: Outcome | None = _read(_answered(lock), Outcome)
    return found if found is not None and found.id == intent.id else None


def _asked(lock: Path) -> Path:
    return lock.with_suffix(".restart")


def _answered(lock: Path) -> Path:
    return lock.with_suffix(".restarted")


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(draft, flags, 0o600), "w") as file:
        json.dump(content, file)
    draft.replace(path)


def _read(path: Path, kind: Any) -> Any:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            found = kind(**json.loads(file.read(_LONGEST)))
    except (OSError, ValueError, TypeError):
        return None
    kinds: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool}
    fits = all(isinstance(getattr(found, name), kinds[kind.__annotations__[name]]) for name in kind._fields)
    return found if fits else None
