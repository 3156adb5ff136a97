"""What a signal alone cannot say: small files next to the lock file, each for one signal to one process.

`gateway restart` leaves an intent, bound to the supervisor's PID and good for a minute, and sends
SIGUSR1. So a restart needs no environment variable, and a stray signal does nothing. `gateway stop
--timeout` leaves the grace in the same way.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from gateway import private_file

#: seconds that an intent is valid
INTENT_VALID_SECONDS = 60.0
_MAX_INTENT_BYTES = 16 * 1024

S = TypeVar("S", bound=Struct)


class Intent(Struct, frozen=True):
    """A restart that somebody asked for."""

    #: which request this is, so that its answer can be told from others
    id: str
    #: the supervisor that is meant
    pid: int
    #: when it was asked for, in seconds since 1970 UTC
    at: float
    hard: bool
    reason: str


class Outcome(Struct, frozen=True):
    """How a restart went."""

    #: the intent that it answers; empty for a bare signal
    id: str
    ok: bool
    #: numbers of the generations before and after
    old: int
    new: int
    error: str


class Grace(Struct, frozen=True):
    """How long a stop may take."""

    pid: int
    #: when it was said, in seconds since 1970 UTC
    at: float
    seconds: float


def leave_grace(lock: Path, pid: int, seconds: float) -> None:
    """Leave the grace of the next stop; the caller sends the signal."""
    _write_struct(_grace_path(lock), Grace(pid, time.time(), seconds))


def take_grace(lock: Path, pid: int) -> float | None:
    """Return the grace that was left for this process, once; None if there is no valid one."""
    found = _read_struct(_grace_path(lock), Grace)
    if found is None or found.pid != pid or not 0 <= time.time() - found.at <= INTENT_VALID_SECONDS:
        return None
    _grace_path(lock).unlink(missing_ok=True)
    return max(0.0, found.seconds)


def leave_intent(lock: Path, pid: int, *, hard: bool, reason: str) -> Intent:
    """Leave an intent for a supervisor; the caller sends the signal."""
    intent = Intent(os.urandom(8).hex(), pid, time.time(), hard, reason)
    _write_struct(_intent_path(lock, intent.id), intent)
    return intent


def take_intents(lock: Path, pid: int) -> list[Intent]:
    """Return the valid intents that were left for this process, each once; delete the others.

    One signal may stand for several: the system merges them.
    """
    taken = []
    for path in sorted(lock.parent.glob(_intent_path(lock, "*").name)):
        found = _read_struct(path, Intent)
        path.unlink(missing_ok=True)
        if found is not None and found.pid == pid and 0 <= time.time() - found.at <= INTENT_VALID_SECONDS:
            taken.append(found)
    return taken


def write_outcome(lock: Path, outcome: Outcome) -> None:
    """Write the outcome of a restart. Delete old outcomes: those who asked may be gone."""
    for path in lock.parent.glob(_outcome_path(lock, "*").name):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > INTENT_VALID_SECONDS:
                path.unlink()
    if outcome.id:
        _write_struct(_outcome_path(lock, outcome.id), outcome)


def take_outcome(lock: Path, intent: Intent) -> Outcome | None:
    """Return the outcome of a restart, once; None while it is under way."""
    path = _outcome_path(lock, intent.id)
    found = _read_struct(path, Outcome)
    if found is None or found.id != intent.id:
        return None
    path.unlink(missing_ok=True)
    return found


def _intent_path(lock: Path, which: str) -> Path:
    return lock.with_suffix(f".{which}.restart")


def _outcome_path(lock: Path, which: str) -> Path:
    return lock.with_suffix(f".{which}.restarted")


def _grace_path(lock: Path) -> Path:
    return lock.with_suffix(".stop")


def _write_struct(path: Path, content: Struct) -> None:
    private_file.replace_private_file(path, msgspec.json.encode(content), durable=False)  # it is good for a minute


def _read_struct(path: Path, kind: type[S]) -> S | None:
    try:
        return msgspec.json.decode(private_file.read_private_file(path, _MAX_INTENT_BYTES), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
