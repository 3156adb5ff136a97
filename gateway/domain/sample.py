"""Samples: how the gateway was doing, once a minute; a plot shows them."""

from __future__ import annotations

from msgspec import Struct

#: milliseconds between two samples
SAMPLE_INTERVAL_MILLISECONDS = 60_000
#: milliseconds that a sample is kept
SAMPLE_LIFETIME_MILLISECONDS = 8 * 86_400_000


class StoreMeasure(Struct, frozen=True, kw_only=True):
    """What the store knows at one moment."""

    #: runs that are running and that are queued
    running: int
    queued: int
    #: runs that have ended, and that have failed, since the last sample
    ended: int
    failed: int
    #: size of the database, without what waits in its write-ahead log
    database_bytes: int


class Sample(Struct, frozen=True, kw_only=True):
    """How the gateway was doing at one moment, or the mean of several."""

    #: milliseconds since 1970 UTC; of several, the beginning of their time
    at: int
    #: runs that were running and that were queued
    running: float
    queued: float
    #: runs that ended, and that failed, in a minute
    ended: float
    failed: float
    #: milliseconds until the disk had a write: accepting a run takes as long
    accept_ms: float
    #: memory of the serving process, without its agents
    memory_bytes: int
    #: processor time of the serving process, without its agents; 100 is one core
    cpu_percent: float
    #: the most milliseconds that the event loop was late
    loop_lag_ms: float
    #: size of the database
    database_bytes: int


def choose_step(since: int, until: int, points: int) -> int:
    """Return the milliseconds of a time range that one point stands for: whole minutes.

    Points begin at multiples of it, so that a later request has the same ones. Any range touches at most `points`.

    Args:
        points: two or more.
    """
    wanted = -(-(until - since) // (points - 1))
    return max(1, -(-wanted // SAMPLE_INTERVAL_MILLISECONDS)) * SAMPLE_INTERVAL_MILLISECONDS
