"""Events of a run, and messages of MCP, as the gateway streams them: server-sent events that hold JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any, NamedTuple

from gateway.sse_reader import EventReader, OversizedEvent

#: bytes of one event; far more than the gateway sends, which limits what an agent may answer
MAX_EVENT_BYTES = 64 << 20
_MAX_READ_BYTES = 64 << 10


class Event(NamedTuple):
    """One event of a stream."""

    #: its number in the run's log; None for one that is not in the log
    id: int | None
    kind: str
    data: Any


def read_events(stream: BufferedIOBase) -> Iterator[Event]:
    """Yield the events of a stream as they come; one that the end cuts off is left out.

    Raises:
        ValueError: the data of an event is not JSON, or too large.
    """
    reader = EventReader(MAX_EVENT_BYTES)
    while piece := stream.read1(_MAX_READ_BYTES):
        for event in reader.feed(piece):
            if isinstance(event, OversizedEvent):
                raise ValueError(f"an event of more than {MAX_EVENT_BYTES} bytes")
            number = event.id or ""
            in_log = number.isascii() and number.isdigit()
            yield Event(int(number) if in_log else None, event.type, json.loads(event.data))
