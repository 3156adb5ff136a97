"""The details of a signal: small files next to the lock file, each for one signal to one process.

`gateway restart` leaves an intent, valid for the supervisor's PID and for a minute, and sends
SIGUSR1. So a restart needs no environment variable, and a stray signal does nothing. `gateway stop
--timeout` leaves the grace in the same way.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from gateway import private_file

#: seconds that an intent is valid
INTENT_VALID_SECONDS = 60.0
_MAX_INTENT_BYTES = 16 * 1024
#: characters of the reasons of one restart
MAX_JOINED_REASON_CHARACTERS = 500

S = TypeVar("S", bound=Struct)


class Intent(Struct, frozen=True):
    """A request for a restart."""

    #: id of the request, which its outcome repeats
    id: str
    #: PID of the supervisor
    pid: int
    #: time of the request, in seconds since 1970 UTC
    at: float
    hard: bool
    reason: str


class Outcome(Struct, frozen=True):
    """The outcome of a restart."""

    #: id of the intent; empty for a signal without one
    id: str
    ok: bool
    #: numbers of the generations before and after
    old: int
    new: int
    error: str
    #: number of the generation that leads after a failed restart, 0 if there is none; None from a supervisor that is
    #: older than this field
    leader: int | None = None


class Grace(Struct, frozen=True):
    """The grace of a stop."""

    pid: int
    #: when it was left, in seconds since 1970 UTC
    at: float
    seconds: float


def leave_grace(lock: Path, pid: int, seconds: float) -> None:
    """Leave the grace of the next stop; the caller sends the signal."""
    _write_struct(_grace_path(lock), Grace(pid, time.time(), seconds))


def take_grace(lock: Path, pid: int) -> float | None:
    """Return the grace that was left for this process, and delete it; None if there is no valid one."""
    found = _read_struct(_grace_path(lock), Grace)
    if found is None or found.pid != pid or not 0 <= time.time() - found.at <= INTENT_VALID_SECONDS:
        return None
    _forget_file(_grace_path(lock))
    return max(0.0, found.seconds)


def leave_intent(lock: Path, pid: int, *, hard: bool, reason: str) -> Intent:
    """Leave an intent for a supervisor; the caller sends the signal."""
    intent = Intent(os.urandom(8).hex(), pid, time.time(), hard, reason)
    _write_struct(_intent_path(lock, intent.id), intent)
    return intent


def take_intents(lock: Path, pid: int) -> list[Intent]:
    """Return the valid intents that were left for this process, and delete all intents.

    One signal may stand for several intents: the system merges signals.
    """
    taken = []
    for path in sorted(lock.parent.glob(_intent_path(lock, "*").name)):
        found = _read_struct(path, Intent)
        _forget_file(path)
        if found is not None and found.pid == pid and 0 <= time.time() - found.at <= INTENT_VALID_SECONDS:
            taken.append(found)
    return taken


def join_reasons(asked: Sequence[Intent]) -> str:
    """Return the reasons of the intents that one restart answers; empty if none has one."""
    return ", ".join(one.reason for one in asked if one.reason)[:MAX_JOINED_REASON_CHARACTERS]


def write_outcome(lock: Path, outcome: Outcome) -> None:
    """Write the outcome of a restart. Delete old outcomes: their clients may be gone."""
    for path in lock.parent.glob(_outcome_path(lock, "*").name):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > INTENT_VALID_SECONDS:
                path.unlink()
    if outcome.id:
        _write_struct(_outcome_path(lock, outcome.id), outcome)


def take_outcome(lock: Path, intent: Intent) -> Outcome | None:
    """Return the outcome of a restart, and delete it; None while the restart is under way."""
    path = _outcome_path(lock, intent.id)
    found = _read_struct(path, Outcome)
    if found is None or found.id != intent.id:
        return None
    path.unlink(missing_ok=True)
    return found


def _forget_file(path: Path) -> None:
    """Delete a file; if that is impossible, it expires by itself."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _intent_path(lock: Path, which: str) -> Path:
    return lock.with_suffix(f".{which}.restart")


def _outcome_path(lock: Path, which: str) -> Path:
    return lock.with_suffix(f".{which}.restarted")


def _grace_path(lock: Path) -> Path:
    return lock.with_suffix(".stop")


def _write_struct(path: Path, content: Struct) -> None:
    private_file.replace_private_file(
        path, msgspec.json.encode(content), durable=False
    )  # it is valid for a minute only


def _read_struct(path: Path, kind: type[S]) -> S | None:
    try:
        return msgspec.json.decode(private_file.read_private_file(path, _MAX_INTENT_BYTES), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
