"""The log on the terminal of a gateway in the foreground."""

from __future__ import annotations

from collections.abc import Callable

#: events of every start, even of one that fails because of a bad config; then the error alone is shown
_START_EVENTS = (
    "supervisor.started",
    "generation.started",
    "generation.failed",
    "generation.ended",
    "supervisor.ended",
)


class Console:
    """Holds back the lines of a start until another line comes."""

    def __init__(self, show: Callable[[bytes], None]) -> None:
        self._show = show
        self._held: list[bytes] | None = []

    def write_line(self, line: bytes) -> None:
        if self._held is None:
            self._show(line)
        elif any(b'"event": "%s"' % event.encode() in line for event in _START_EVENTS):
            self._held.append(line)
        else:
            held, self._held = self._held, None
            for earlier in [*held, line]:
                self._show(earlier)
