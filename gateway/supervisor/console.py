"""The log as whoever started the gateway in the foreground sees it."""

from __future__ import annotations

from collections.abc import Callable

#: what is said of any start, and of one that a bad config ends: then the error says it all
_OPENING = ("supervisor.started", "generation.started", "generation.failed", "generation.ended", "supervisor.ended")


class Console:
    """Holds back the lines that tell of a beginning only, until there is something else to tell."""

    def __init__(self, show: Callable[[bytes], None]) -> None:
        self._show = show
        self._held: list[bytes] | None = []

    def write(self, line: bytes) -> None:
        if self._held is None:
            self._show(line)
        elif any(b'"event": "%s"' % event.encode() in line for event in _OPENING):
            self._held.append(line)
        else:
            held, self._held = self._held, None
            for earlier in [*held, line]:
                self._show(earlier)
