"""Times: inside the gateway whole milliseconds since 1970 UTC, outside RFC 3339."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

#: returns the current time in milliseconds since 1970 UTC; tests pass one of their own
Clock = Callable[[], int]

#: milliseconds
MINUTE_MILLISECONDS, HOUR_MILLISECONDS = 60_000, 3_600_000


def wall_clock() -> int:
    """Return the current time of this machine in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def format_rfc3339(moment: int) -> str:
    """Return a time in milliseconds as RFC 3339, in UTC and with milliseconds."""
    seconds, rest = divmod(moment, 1000)  # integers, because a float is too coarse for distant years
    text = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def to_milliseconds(moment: datetime) -> int:
    """Return a datetime with a time zone as milliseconds since 1970 UTC."""
    return round(moment.timestamp() * 1000)
