"""Times: whole milliseconds since 1970 UTC inside, RFC 3339 outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

#: gives the present as milliseconds since 1970 UTC; tests hand in their own
Clock = Callable[[], int]


def wall_clock() -> int:
    """Return the machine's present time in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def rfc3339(moment: int) -> str:
    """Return a moment, in milliseconds, as RFC 3339 in UTC with millisecond precision."""
    seconds, rest = divmod(moment, 1000)  # not by a fraction: a float is too coarse for far years
    text = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def milliseconds(moment: datetime) -> int:
    """Return an aware datetime as milliseconds since 1970 UTC."""
    return round(moment.timestamp() * 1000)
