"""Reads the stream of events of an opencode server, and gives each event to its turn.

A turn that reads slowly neither delays others nor makes memory grow: its unread events are dropped,
and a `Gap` takes their place. After a `Gap`, the turn asks the server for the current state. The same
happens after the connection was lost for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator

import aiohttp
import msgspec

from gateway.backends.opencode import wire
from gateway.backends.opencode.api import Api
from gateway.sse_reader import EventReader, OversizedEvent

#: characters in an inbox; when there are more, all its events are dropped
HELD = 1024 * 1024
#: events in an inbox; when there are more, all are dropped
COUNT = 2000
#: characters up to which pieces of text are joined into one event
JOINED = 16 * 1024
#: bytes of one event; a larger one is skipped
EVENT = 4 * 1024 * 1024
#: seconds without a byte until the stream counts as dead; opencode sends a heartbeat every 10 s
SILENCE = 25.0
#: seconds to reconnect until the server counts as gone, and seconds between two tries
PATIENCE, PAUSE = 10.0, 0.2


class Gap(msgspec.Struct):
    """Events were lost."""


class Lost(msgspec.Struct):
    """The server is gone: no more events will come."""

    why: str


Event = wire.WireEvent | Gap | Lost


class Inbox:
    """The unread events of one turn, in order."""

    def __init__(self, session: str) -> None:
        #: the session, and the sessions of its helpers
        self.sessions = {session}
        self._events: deque[Event] = deque()
        self._held = 0
        self._some = asyncio.Event()

    def put(self, event: Event) -> None:
        if not self._join(event):
            self._events.append(event)
        self._held += _weight(event)
        if self._held > HELD or len(self._events) > COUNT:
            self._events.clear()
            self._held = 0
            self._events.append(Gap())
        self._some.set()

    async def get(self) -> Event:
        while not self._events:
            self._some.clear()
            await self._some.wait()
        event = self._events.popleft()
        self._held -= _weight(event)
        return event

    def clear(self) -> None:
        self._events.clear()
        self._held = 0

    def _join(self, event: Event) -> bool:
        last = self._events[-1] if self._events else None
        if not (isinstance(event, wire.Delta) and isinstance(last, wire.Delta)):
            return False
        if (last.part, last.field) != (event.part, event.field) or len(last.delta) > JOINED:
            return False
        last.delta += event.delta
        return True


def _weight(event: Event) -> int:
    match event:
        case wire.Delta(delta=delta):
            return len(delta)
        case wire.PartUpdated(part=part):
            return len(part.text) + (len(part.state.output) if part.state else 0)
    return 0


class Stream:
    """Reads a server's events until it is closed or the server is gone."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._inboxes: dict[str, Inbox] = {}
        self._open = asyncio.Event()
        #: why the server is gone; None while it is there
        self.loss_reason: str | None = None
        self.ended = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="opencode-events")

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.end("the gateway has closed the connection")

    async def ready(self) -> None:
        """Wait until events come in, so that none is missed from now on."""
        await self._open.wait()

    @contextlib.contextmanager
    def subscribed(self, session: str) -> Iterator[Inbox]:
        """Give an inbox for the events of a session and of its helpers' sessions."""
        inbox = self._inboxes[session] = Inbox(session)
        try:
            if self.loss_reason is not None:
                inbox.put(Lost(self.loss_reason))
            yield inbox
        finally:
            for name in inbox.sessions:
                if self._inboxes.get(name) is inbox:
                    del self._inboxes[name]

    def end(self, why: str) -> None:
        """Tell every turn that the server is gone."""
        if self.loss_reason is None:
            self.loss_reason = why
            self.ended.set()
            self._open.set()
            self._tell(Lost(why))

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        heard = clock()
        while self.loss_reason is None:
            self._open.clear()
            why = await self._follow()
            if self._open.is_set():
                heard = clock()
            elif clock() - heard > PATIENCE:
                self.end(why)
            await asyncio.sleep(PAUSE)

    async def _follow(self) -> str:
        """Read the events of one connection; return why it ended."""
        try:
            async with asyncio.timeout(PATIENCE) as opening, self._api.events(SILENCE) as answer:
                opening.reschedule(None)
                if answer.status != 200:
                    return f"it answered {answer.status} to a request for its events"
                self._open.set()
                self._tell(Gap())
                reader = EventReader(EVENT)
                async for piece in answer.content.iter_any():
                    for event in reader.feed(piece):
                        self._sort(None if isinstance(event, OversizedEvent) else event.data)
                return "it closed the connection"
        except (TimeoutError, aiohttp.ClientError) as error:
            return str(error) or "it is silent"

    def _sort(self, data: bytes | None) -> None:
        if data is None:
            self._tell(Gap())
            return
        event = wire.read_event(data)
        if event is None:
            return
        if isinstance(event, wire.SessionCreated):
            self._adopt(event.session, event.info.parent)
        elif event.session in self._inboxes:
            self._inboxes[event.session].put(event)

    def _adopt(self, session: str, parent: str) -> None:
        """Give the events of a helper's session to the turn of its parent."""
        if parent in self._inboxes:
            inbox = self._inboxes[session] = self._inboxes[parent]
            inbox.sessions.add(session)

    def _tell(self, event: Event) -> None:
        for inbox in set(self._inboxes.values()):
            inbox.put(event)
