"""Retention: how long finished work is kept."""

from __future__ import annotations

from msgspec import Struct

DAY_MILLISECONDS = 86_400_000


class Retention(Struct, frozen=True, kw_only=True):
    """How long to keep data after the end of a run or the last use of a session; None keeps it forever."""

    #: days to keep the events of ended runs
    events_days: float | None = None
    #: how many of the newest ended runs keep their events
    events_runs: int | None = None
    #: days to keep ended runs
    runs_days: float | None = None
    #: days to keep dead deliveries
    dead_letters_days: float | None = None
    #: days to keep unused sessions with their transcripts
    sessions_days: float | None = None
    #: days to keep unused workspaces of sessions that are kept
    workspaces_days: float | None = None
    #: days to keep files to which nothing refers, from when they were stored
    unused_files_days: float | None = None
    #: days to keep entries of the audit log
    audit_days: float | None = None


def compute_cutoff(now: int, days: float | None) -> int | None:
    """Return the moment before which data is too old, in milliseconds since 1970 UTC; None if all of it is kept."""
    return None if days is None else now - round(days * DAY_MILLISECONDS)
