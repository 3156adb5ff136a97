"""What the engine asks of a channel and of a sender, and what a channel may ask of the engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.domain.delivery import Delivery, Receipt
from gateway.domain.event import Event
from gateway.domain.inbound import Aside, Inbound
from gateway.domain.permission import Answer, PermissionRequest
from gateway.domain.run import Run


class Standing(Struct, frozen=True, kw_only=True):
    """What is going on in a chat's session."""

    #: key of the session
    session: str
    agent: str
    running: int
    queued: int


class Desk(Protocol):
    """What a channel or an inlet may ask of the engine. It has its own: what is kept there is its own."""

    async def submit(self, inbound: Inbound) -> Run:
        """Hand in what came in: when this returns, it is on disk, once.

        Raises:
            GatewayError: it was not taken, and why.
        """
        ...

    async def stop(self, chat: str) -> int:
        """Cancel all that is queued or running in a chat's session; returns how much that was."""
        ...

    async def permit(self, chat: str, answer: Answer, which: tuple[str, str] | None = None) -> PermissionRequest | None:
        """Answer what an agent has waited for longest in a chat's session; returns that, or None if none waits.

        Args:
            which: the ids of a run and of its request, to answer only that one.

        Raises:
            InvalidRequest: it cannot be told that.
            Conflict: somebody else has answered in this moment.
        """
        ...

    async def standing(self, chat: str) -> Standing: ...

    async def begin_anew(self, chat: str) -> None:
        """Give a chat a new session; the one before is kept."""
        ...

    async def knows(self, chat: str) -> bool:
        """Tell whether a chat was paired."""
        ...

    async def redeem(self, code: str, chat: str, title: str) -> bool:
        """Pair a chat if the code is a right one, which it then is no longer."""
        ...

    async def moved(self, chat: str, to: str) -> None:
        """Let a paired chat be known by another name."""
        ...

    async def note(self, name: str) -> str | None:
        """Return what was kept under a name."""
        ...

    async def keep(self, name: str, value: str, *, days: float | None = None) -> None:
        """Keep something for so many days, or for ever; when this returns, it is on disk."""
        ...

    def watch(self, run: str) -> AsyncGenerator[Event, None]:
        """Follow a run's events from its first to its end."""
        ...


class Door(Protocol):
    """The side of a channel, or of an inlet, that programs post to. It knows its own secrets."""

    def admit(self, headers: Mapping[str, str]) -> None:
        """Check what the header alone can tell, before the body is read.

        Raises:
            Unauthorized: it is missing, wrong, or of another time.
        """
        ...

    async def take(self, headers: Mapping[str, str], body: bytes, desk: Desk) -> Run | Aside:
        """Verify the body as it came, then read it, then hand it in.

        Raises:
            Unauthorized: it is not signed as it has to be.
            InvalidRequest: it cannot be read, or does not fit the mapping.
        """
        ...


class ChannelState(Struct, frozen=True, kw_only=True):
    """Whether a channel works."""

    #: `polling`, `webhook`, `passive`, `waiting` or `refused`
    state: str
    #: what is wrong, or who it is there
    detail: str = ""


class Outgoing(Struct, frozen=True, kw_only=True):
    """An answer on its way to a chat."""

    #: stays the same at every try
    id: str
    #: id of the run that it is the answer of
    run: str
    chat: str
    text: str
    #: since when it is on its way, in milliseconds since 1970 UTC
    at: int


class Channel(Protocol):
    """A place with people in it, by a name that stands in session keys. Opened once as an async context manager."""

    name: str
    #: id of the agent that answers there; None means the default one
    agent: str | None

    async def __aenter__(self) -> Channel: ...

    async def __aexit__(self, *exc: object) -> None: ...

    @property
    def door(self) -> Door | None:
        """Where its webhook goes; None if it takes none."""
        ...

    @property
    def state(self) -> ChannelState: ...

    def allowed(self) -> Sequence[str]:
        """Return the chats that the settings let in, beside those that were paired."""
        ...

    async def run(self, desk: Desk) -> None:
        """Bring in what is said there, until cancelled. Only the process that leads does that."""
        ...

    def live(self, run: str, chat: str, desk: Desk) -> None:
        """Show in a chat that a run is at work, and what it has said so far. Returns at once."""
        ...

    async def send(self, out: Outgoing, desk: Desk) -> Receipt:
        """Send an answer. A try goes on where the one before was cut."""
        ...

    async def quieten(self) -> None:
        """Show no more of any run: another process will send what they answer."""
        ...


class Sender(Protocol):
    """Sends deliveries of one kind: webhooks, or the replies in one channel."""

    async def send(self, delivery: Delivery, body: bytes) -> Receipt:
        """Try once to hand over a body; tell how it went. Has a deadline of its own, of seconds.

        What it raises counts as a try that failed and may succeed later. A receiver that has taken
        it and could not say so is sent it again: `delivery.id` lets it see that.
        """
        ...
