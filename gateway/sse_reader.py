"""Reads server-sent events from a stream of bytes, in pieces of any size.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html. Comments, `retry` and unknown fields
are ignored: each caller has its own rule for when to connect again.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """One event of a stream."""

    #: its data lines, joined by line feeds; not decoded
    data: bytes
    #: `message` if the stream gives no other type
    type: str = "message"
    #: the event's own id; None if it has none
    id: str | None = None


class OversizedEvent(NamedTuple):
    """Stands for an event that is larger than the limit; its content is lost."""


class EventReader:
    """Reads the events of one stream. Holds at most one event, up to the limit."""

    def __init__(
        self,
        max_event_bytes: int,
        *,
        one_line_events: bool = False,
        unknown_lines_type: str | None = None,
        large_mark: re.Pattern[bytes] | None = None,
        max_marked_bytes: int = 0,
    ) -> None:
        """Args:
        max_event_bytes: largest size of an event.
        large_mark: what an event has in the beginning of its data, up to that size, that may be larger.
        max_marked_bytes: the largest size of such an event.
        one_line_events: end an event with its data line, for servers that leave out the empty line.
        unknown_lines_type: return each line that the format does not know as an event of this type, for servers
            that leave the format when they fail.
        """
        self._max_event_bytes = max_event_bytes
        self._large_mark, self._max_marked_bytes = large_mark, max_marked_bytes
        self._one_line_events = one_line_events
        self._unknown_lines_type = unknown_lines_type
        #: the line that is not complete yet
        self._line = bytearray()
        self._is_first_line = True
        self._last_byte_was_cr = False
        #: whether the present event is over the limit
        self._is_oversized = False
        self._start_event()

    def feed(self, piece: bytes) -> list[ServerSentEvent | OversizedEvent]:
        """Return the events that end in this piece; an oversized event is returned as soon as it is over the limit."""
        if not piece:
            return []
        if self._last_byte_was_cr:
            piece = piece.removeprefix(b"\n")  # the second half of a line end
        self._last_byte_was_cr = piece.endswith(b"\r")
        found: list[ServerSentEvent | OversizedEvent] = []
        for part in piece.splitlines(keepends=True):
            text = part.rstrip(b"\r\n")
            self._line += text
            if self._drop_oversized():
                found.append(OversizedEvent())
            if len(text) < len(part) and (event := self._end_line()) is not None:
                found.append(event)
        return found

    def finish(self) -> ServerSentEvent | None:
        """Return the event that the end of the stream cut off, if there is one.

        The format drops such an event. Call this only for servers that leave out the last empty line.
        """
        event = self._end_line() if self._line else None
        return event or self._end_event()

    def _start_event(self) -> None:
        self._data: list[bytes] = []
        self._data_bytes = 0
        #: largest size of the present event
        self._limit = self._max_event_bytes
        self._type = ""
        self._id: str | None = None

    def _drop_oversized(self) -> bool:
        """Drop the buffered data if the event is over the limit; return whether it has just become so."""
        if self._is_oversized:
            del self._line[1:]  # from now on it only matters whether the line is empty
            return False
        size = self._data_bytes + len(self._line)
        if size > self._limit == self._max_event_bytes and self._is_marked():
            self._limit = self._max_marked_bytes
        if size <= self._limit:
            return False
        self._start_event()
        self._is_oversized = True
        del self._line[1:]
        return True

    def _is_marked(self) -> bool:
        """Return whether the mark is in the line, as far as an event without it may go."""
        end = self._max_event_bytes + 1 - self._data_bytes
        return self._large_mark is not None and self._large_mark.search(self._line, 0, end) is not None

    def _end_line(self) -> ServerSentEvent | None:
        line = bytes(self._line)
        self._line.clear()
        if self._is_first_line:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._is_first_line = False
        if not line:
            return self._end_event()
        if not self._is_oversized:
            self._read_field(line)
        if self._one_line_events and (self._data or self._is_oversized):
            return self._end_event()
        return None

    def _end_event(self) -> ServerSentEvent | None:
        event = None
        if self._data:
            event = ServerSentEvent(b"\n".join(self._data), self._type or "message", self._id)
        self._start_event()
        self._is_oversized = False
        return event

    def _read_field(self, line: bytes) -> None:
        colon = line.find(b":")
        name = line if colon < 0 else line[:colon]
        value = b"" if colon < 0 else line[colon + (2 if line.startswith(b" ", colon + 1) else 1) :]
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1  # a line without a value counts, too
        elif name == b"event":
            self._type = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name and name not in (b"id", b"retry") and self._unknown_lines_type is not None:
            self._data.append(line)
            self._data_bytes += len(line) + 1
            self._type = self._unknown_lines_type
