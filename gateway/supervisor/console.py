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
#: events of the end of a generation that fails, before the one that repeats the reason and says when the next begins
_EARLIER_FAILURE_EVENTS = ("generation.failed", "generation.ended")
_CRASH_EVENT = "generation.crashed"


class Console:
    """Holds back the lines of a start until another line comes. Of a generation that fails it shows the last line."""

    def __init__(self, show: Callable[[bytes], None]) -> None:
        self._show = show
        self._held: list[bytes] = []
        self._is_starting = True

    def write_line(self, line: bytes) -> None:
        if self._must_wait(line):
            self._held.append(line)
            return
        held, self._held, self._is_starting = self._held, [], False
        if _is_event(line, _CRASH_EVENT):
            held = [earlier for earlier in held if not _is_event(earlier, *_EARLIER_FAILURE_EVENTS)]
        for each in [*held, line]:
            self._show(each)

    def _must_wait(self, line: bytes) -> bool:
        if self._is_starting:
            return _is_event(line, *_START_EVENTS)
        return _is_event(line, *_EARLIER_FAILURE_EVENTS) if self._held else _is_event(line, _EARLIER_FAILURE_EVENTS[0])


def _is_event(line: bytes, *events: str) -> bool:
    return any(b'"event": "%s"' % event.encode() in line for event in events)
