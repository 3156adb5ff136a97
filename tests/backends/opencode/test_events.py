"""The events of a server that wait for their turn."""

from __future__ import annotations

from gateway.backends.opencode import wire
from gateway.backends.opencode.events import EventInbox, EventsLost


async def test_events_that_a_slow_turn_does_not_read_are_joined_and_at_last_dropped() -> None:
    inbox = EventInbox("ses_1")
    for _ in range(100):
        inbox.put_event(wire.PartDelta("ses_1", "msg_1", "prt_1", "text", "word "))

    first = await inbox.next_event()
    assert isinstance(first, wire.PartDelta)
    assert first.delta == "word " * 100

    for _ in range(50_000):
        inbox.put_event(wire.PartDelta("ses_1", "msg_1", "prt_1", "text", "x" * 100))
    assert await inbox.next_event() == EventsLost()
