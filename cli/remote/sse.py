"""Reading server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One event of a stream."""

    #: its number in the run's log; None for one that is not in the log
    id: int | None
    kind: str
    data: Any


def events(lines: Iterable[bytes]) -> Iterator[Event]:
    """Yield whole events; one that the end cuts off is left out.

    Raises:
        ValueError: the data of an event is not JSON.
    """
    fields: dict[str, list[str]] = {}
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
            continue
        if "data" in fields:
            number = fields.get("id", [""])[-1]
            kind = fields.get("event", ["message"])[-1]
            yield Event(int(number) if number.isdigit() else None, kind, json.loads("\n".join(fields["data"])))
        fields = {}
