"""Reads the stream of events of an opencode server, and gives each event to its turn.

A turn that reads slowly neither delays others nor makes memory grow: its unread events are dropped,
and an `EventsLost` takes their place. After an `EventsLost`, the turn asks the server for the current state.
The same happens after the connection was lost for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator

import aiohttp
import msgspec

from gateway.backends.opencode import wire
from gateway.backends.opencode.driven_server import DrivenServer
from gateway.sse_reader import EventReader, OversizedEvent

#: characters in an inbox; when there are more, all its events are dropped
MAX_INBOX_CHARACTERS = 1024 * 1024
#: events in an inbox; when there are more, all are dropped
MAX_INBOX_EVENTS = 2000
#: characters up to which pieces of text are joined into one event
MAX_JOINED_DELTA_CHARACTERS = 16 * 1024
#: bytes of one event; a larger one is skipped
MAX_OPENCODE_EVENT_BYTES = 4 * 1024 * 1024
#: seconds without a byte until the stream counts as dead; opencode sends a heartbeat every 10 s
OPENCODE_SILENCE_SECONDS = 25.0
#: seconds to reconnect until the server counts as gone, and seconds between two tries
RECONNECT_TIMEOUT_SECONDS, RECONNECT_PAUSE_SECONDS = 10.0, 0.2


class EventsLost(msgspec.Struct):
    """Events were lost."""


class ServerLost(msgspec.Struct):
    """The server is gone: no more events will come."""

    reason: str


InboxEvent = wire.WireEvent | EventsLost | ServerLost


class EventInbox:
    """The unread events of one turn, in order."""

    def __init__(self, session: str) -> None:
        #: the session, and the sessions of its helpers
        self.sessions = {session}
        self._events: deque[InboxEvent] = deque()
        self._held = 0
        self._some = asyncio.Event()

    def put_event(self, event: InboxEvent) -> None:
        if not self._join_delta(event):
            self._events.append(event)
        self._held += _count_characters(event)
        if self._held > MAX_INBOX_CHARACTERS or len(self._events) > MAX_INBOX_EVENTS:
            self._events.clear()
            self._held = 0
            self._events.append(EventsLost())
        self._some.set()

    async def next_event(self) -> InboxEvent:
        while not self._events:
            self._some.clear()
            await self._some.wait()
        event = self._events.popleft()
        self._held -= _count_characters(event)
        return event

    def clear_events(self) -> None:
        self._events.clear()
        self._held = 0

    def _join_delta(self, event: InboxEvent) -> bool:
        last = self._events[-1] if self._events else None
        if not (isinstance(event, wire.PartDelta) and isinstance(last, wire.PartDelta)):
            return False
        if (last.part, last.field) != (event.part, event.field) or len(last.delta) > MAX_JOINED_DELTA_CHARACTERS:
            return False
        last.delta += event.delta
        return True


def _count_characters(event: InboxEvent) -> int:
    match event:
        case wire.PartDelta(delta=delta):
            return len(delta)
        case wire.PartUpdated(part=part):
            return len(part.text) + (len(part.state.output) if part.state else 0)
    return 0


class EventStream:
    """Reads a server's events until it is closed or the server is gone."""

    def __init__(self, api: DrivenServer) -> None:
        self._api = api
        self._inboxes: dict[str, EventInbox] = {}
        self._open = asyncio.Event()
        #: why the server is gone; None while it is there
        self.loss_reason: str | None = None
        self.ended = asyncio.Event()
        self._task = asyncio.create_task(self._keep_reading(), name="opencode-events")

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.mark_lost("the gateway has closed the connection")

    async def wait_ready(self) -> None:
        """Wait until events come in, so that none is missed from now on."""
        await self._open.wait()

    @contextlib.contextmanager
    def subscribe_session(self, session: str) -> Iterator[EventInbox]:
        """Give an inbox for the events of a session and of its helpers' sessions."""
        inbox = self._inboxes[session] = EventInbox(session)
        try:
            if self.loss_reason is not None:
                inbox.put_event(ServerLost(self.loss_reason))
            yield inbox
        finally:
            for name in inbox.sessions:
                if self._inboxes.get(name) is inbox:
                    del self._inboxes[name]

    def mark_lost(self, why: str) -> None:
        """Tell every turn that the server is gone."""
        if self.loss_reason is None:
            self.loss_reason = why
            self.ended.set()
            self._open.set()
            self._tell_all(ServerLost(why))

    async def _keep_reading(self) -> None:
        clock = asyncio.get_running_loop().time
        heard = clock()
        while self.loss_reason is None:
            self._open.clear()
            why = await self._read_connection()
            if self._open.is_set():
                heard = clock()
            elif clock() - heard > RECONNECT_TIMEOUT_SECONDS:
                self.mark_lost(why)
            await asyncio.sleep(RECONNECT_PAUSE_SECONDS)

    async def _read_connection(self) -> str:
        """Read the events of one connection; return why it ended."""
        try:
            async with (
                asyncio.timeout(RECONNECT_TIMEOUT_SECONDS) as opening,
                self._api.open_events(OPENCODE_SILENCE_SECONDS) as answer,
            ):
                opening.reschedule(None)
                if answer.status != 200:
                    return f"it answered {answer.status} to a request for its events"
                if answer.content_type == "text/html":
                    return "it is another version than before: it answers with its web page to a request for its events"
                self._open.set()
                self._tell_all(EventsLost())
                reader = EventReader(MAX_OPENCODE_EVENT_BYTES)
                async for piece in answer.content.iter_any():
                    for event in reader.feed(piece):
                        self._dispatch_event(None if isinstance(event, OversizedEvent) else event.data)
                return "it closed the connection"
        except (TimeoutError, aiohttp.ClientError) as error:
            return str(error) or "it is silent"

    def _dispatch_event(self, data: bytes | None) -> None:
        if data is None:
            self._tell_all(EventsLost())
            return
        event = self._api.read_event(data)
        if event is None:
            return
        if isinstance(event, wire.SessionCreated):
            self._adopt_session(event.session, event.info.parent)
        elif event.session in self._inboxes:
            self._inboxes[event.session].put_event(event)

    def _adopt_session(self, session: str, parent: str) -> None:
        """Give the events of a helper's session to the turn of its parent."""
        if parent in self._inboxes:
            inbox = self._inboxes[session] = self._inboxes[parent]
            inbox.sessions.add(session)

    def _tell_all(self, event: InboxEvent) -> None:
        for inbox in set(self._inboxes.values()):
            inbox.put_event(event)
