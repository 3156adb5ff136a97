"""How long things are kept that nobody works on any more."""

from __future__ import annotations

from msgspec import Struct

DAY = 86_400_000


class Retention(Struct, frozen=True, kw_only=True):
    """Ages, counted from the end of a run or the last use of a session; None keeps for ever."""

    #: days that the events of ended runs are kept
    events_days: float | None = None
    #: newest ended runs whose events are kept
    events_runs: int | None = None
    #: days that ended runs are kept
    runs_days: float | None = None
    #: days that deliveries are kept that were given up
    dead_letters_days: float | None = None
    #: days that unused sessions are kept, with their transcripts
    sessions_days: float | None = None


def before(now: int, days: float | None) -> int | None:
    """Return up to which moment things are too old, in milliseconds since 1970 UTC; None if none is."""
    return None if days is None else now - round(days * DAY)
