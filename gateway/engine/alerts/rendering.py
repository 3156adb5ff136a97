"""The words of an alert: a text for people in a chat, and JSON for webhooks and commands."""

from __future__ import annotations

import msgspec
from msgspec import Struct

import gateway
from gateway.domain import times
from gateway.domain.alert import AlertEvent, AlertItem, AlertKind, AlertMessage

#: how often something is named in a title: once, and several times
_HAPPENED = {
    AlertKind.RUN_FAILED: ("a task failed", "{:,} tasks failed"),
    AlertKind.DEAD_LETTER: ("a delivery was given up", "{:,} deliveries were given up"),
}
_EVENTS = {
    AlertEvent.OPENED: ("a problem", "{:,} problems"),
    AlertEvent.CONTINUES: ("a problem goes on", "{:,} problems go on"),
    AlertEvent.ENDED: ("a problem is over", "{:,} problems are over"),
    AlertEvent.TEST: ("a test", "{:,} tests"),
}
#: the mark of a line in a chat
_MARKS = {AlertEvent.ENDED: "✅", AlertEvent.TEST: "🔔"}
#: where to look further, when not all is listed
_MORE_HINTS = {
    f"{AlertKind.RUN_FAILED}/{AlertEvent.HAPPENED}": "gateway tasks list --status failed",
    f"{AlertKind.DEAD_LETTER}/{AlertEvent.HAPPENED}": "gateway deliveries list --status dead",
}


class AlertShape(Struct, frozen=True, kw_only=True):
    """One thing that an alert tells."""

    kind: str
    event: str
    subject: str
    text: str
    at: str
    agent: str | None
    task: str | None
    since: str | None


class AlertBody(Struct, frozen=True, kw_only=True):
    """What webhooks and commands get."""

    type: str = "alert"
    id: str
    at: str
    #: name of the machine, and version of the gateway
    host: str
    version: str
    title: str
    text: str
    alerts: list[AlertShape]
    #: by kind and event, with a slash between them
    counts: dict[str, int]
    #: how many are counted, but not in `alerts`
    left_out: int


def write_title(message: AlertMessage) -> str:
    """Return one line that says what a message is about."""
    parts = []
    totals: dict[AlertEvent, int] = {}
    for key, count in message.content.counts.items():
        kind, _, event = key.partition("/")
        if event == AlertEvent.HAPPENED:
            parts.append(_count(_HAPPENED.get(kind, ("an alert", "{:,} alerts")), count))  # type: ignore[call-overload]
        else:
            totals[event] = totals.get(event, 0) + count  # type: ignore[index,call-overload]
    parts += [_count(_EVENTS.get(event, ("an alert", "{:,} alerts")), count) for event, count in totals.items()]
    return ", ".join(parts) or "an alert"


def _count(words: tuple[str, str], count: int) -> str:
    one, many = words
    return one if count == 1 else many.format(count)


def write_text(message: AlertMessage, host: str) -> str:
    """Return the text for people: a title, the items, and how many are left out."""
    lines = [f"Moongate on {host}: {write_title(message)}"]
    lines += [_write_line(item) for item in message.content.items]
    if left_out := message.content.left_out:
        hints = [hint for key, hint in _MORE_HINTS.items() if key in message.content.counts]
        lines.append(f"{left_out:,} more{f', see: {hints[0]}' if hints else ''}")
    return "\n".join(lines)


def _write_line(item: AlertItem) -> str:
    mark = _MARKS.get(item.event, "⚠️")  # type: ignore[call-overload]
    since = f" (since {times.format_rfc3339(item.since)})" if item.since is not None else ""
    run = f" (task {item.run})" if item.run is not None else ""
    return f"{mark} {item.text}{since}{run}"


def encode_body(message: AlertMessage, host: str) -> bytes:
    """Return the JSON of a message."""
    body = AlertBody(
        id=message.id,
        at=times.format_rfc3339(message.created),
        host=host,
        version=gateway.__version__,
        title=write_title(message),
        text=write_text(message, host),
        alerts=[_render_item(item) for item in message.content.items],
        counts=message.content.counts,
        left_out=message.content.left_out,
    )
    return msgspec.json.encode(body)


def _render_item(item: AlertItem) -> AlertShape:
    return AlertShape(
        kind=item.kind,
        event=item.event,
        subject=item.subject,
        text=item.text,
        at=times.format_rfc3339(item.at),
        agent=item.agent,
        task=item.run,
        since=None if item.since is None else times.format_rfc3339(item.since),
    )
