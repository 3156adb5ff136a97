"""The record of a generation: when a serving process led, and why it ended."""

from __future__ import annotations

from msgspec import Struct

#: records that are kept
MAX_GENERATIONS_KEPT = 500
#: the reason of a process that could not say why it ended
CRASHED_REASON = "crashed"
#: characters of a reason
MAX_END_REASON_CHARACTERS = 500


class GenerationRecord(Struct, frozen=True, kw_only=True):
    """A serving process that led. Times are milliseconds since 1970 UTC."""

    #: the process: an instance and the identity of its process, as text
    owner: str
    #: its number under its supervisor; the first is 1
    generation: int
    #: version of the gateway
    version: str
    #: when it opened the store, and when it answered requests
    started: int
    ready: int
    #: when it ended; None while it lives. Of one that crashed: when its successor saw that
    ended: int | None = None
    #: why it ended; None while it lives
    reason: str | None = None
