"""The channels of this gateway: the messages they receive, the chats they let in, and whether they work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from msgspec import Struct, field

from gateway.domain.delivery import CHAT, Delivery, Receipt
from gateway.domain.event import Change
from gateway.domain.inbound import Aside
from gateway.domain.page import Page
from gateway.domain.ports.channel import Channel, ChannelState, Door, Outgoing
from gateway.domain.run import Run, RunFilter, Status
from gateway.domain.session import SessionKey
from gateway.engine.messaging.context import EngineDesk, Paired
from gateway.engine.messaging.webhook_endpoint import Inlet
from gateway.engine.service_loop import ServiceLoop, Step, log_errors
from gateway.errors import ChannelNotFound, Conflict, NotFound

#: seconds until a channel that failed is started again
AGAIN = 5.0
#: how many running runs of the process that led before are still shown in their chats
SHOWN = 100


class Opened(Struct, frozen=True, kw_only=True):
    """The channels that a gateway has."""

    #: open channels with chats, by name
    talking: Mapping[str, Channel] = field(default_factory=dict)
    #: endpoints for the webhooks of providers, by name
    inlets: Mapping[str, Inlet] = field(default_factory=dict)
    #: names of channels that need no code: clients read replies from the session
    silent: frozenset[str] = frozenset()
    #: names of channels that exist but are not configured
    unconfigured: frozenset[str] = frozenset()


class ChannelView(NamedTuple):
    """A channel, its state, and the chats it lets in."""

    name: str
    #: `chat` or `webhook`
    kind: str
    state: ChannelState
    #: chats that the settings allow
    allowed: Sequence[str] = ()
    #: chats that were paired with a code
    paired: Sequence[Paired] = ()


class ChatSender:
    """Sends deliveries to the chats of one channel."""

    def __init__(self, channel: Channel, context: EngineDesk) -> None:
        self._channel = channel
        self._context = context

    async def send(self, delivery: Delivery, body: bytes) -> Receipt:
        # A delivery that somebody retries by hand starts from the beginning: it is due now, and not late.
        since = delivery.next_at if delivery.attempt <= 1 else delivery.created
        out = Outgoing(id=delivery.id, run=delivery.run, chat=delivery.target.address, text=body.decode(), at=since)
        return await self._channel.send(out, self._context)


class Channels:
    """Finds channels; receives their messages while this process leads."""

    def __init__(
        self,
        opened: Opened,
        contexts: Mapping[str, EngineDesk],
        changes: Callable[[int], Awaitable[AsyncIterator[Change]]],
        run: Callable[[str], Awaitable[Run]],
        runs: Callable[[RunFilter, Page], Awaitable[Sequence[Run]]],
    ) -> None:
        """Args:
        contexts: one for each chat channel and each webhook endpoint.
        changes: follows all changes after a position.
        run: returns a run; `runs` lists them.
        """
        self._opened = opened
        self._contexts = contexts
        self._changes = changes
        self._run = run
        self._runs = runs
        self._loops: list[ServiceLoop] = []
        #: position of the last change that was handled
        self._position = 0

    # --- channels and their state -----------------------------------------------------------

    @property
    def names(self) -> Sequence[str]:
        """The names of all channels to which messages can be sent."""
        return sorted({*self._opened.talking, *self._opened.silent})

    def talks(self, name: str) -> bool:
        """Return whether a channel sends replies. If it does not, clients read them from the session.

        Raises:
            ChannelNotFound: there is no such channel, or it is not configured.
        """
        if name in self._opened.talking:
            return True
        if name in self._opened.silent:
            return False
        names = ", ".join(self.names)
        known = f"There are: {names}."
        if name in self._opened.unconfigured:
            raise ChannelNotFound(f"the channel {name!r} is not configured.", remedy=f"Set channels.{name}. {known}")
        raise ChannelNotFound(f"there is no channel {name!r}.", remedy=known)

    async def views(self) -> list[ChannelView]:
        """Return all channels and webhook endpoints, sorted by name."""
        found = [
            ChannelView(name, "chat", self._state(name), one.allowed(), await self._contexts[name].paired())
            for name, one in self._opened.talking.items()
        ]
        always = ChannelState(state="ready", detail="replies are read from the session")
        found += [ChannelView(name, "chat", always) for name in self._opened.silent]
        found += [ChannelView(name, "webhook", self._state(name)) for name in self._opened.inlets]
        none = ChannelState(state="unconfigured")
        found += [ChannelView(name, "chat", none) for name in self._opened.unconfigured]
        return sorted(found)

    @property
    def troubles(self) -> Mapping[str, str]:
        """What is wrong, by the name of the channel. The text has no details: anyone may read it."""
        states = {name: self._state(name).state for name in (*self._opened.talking, *self._opened.inlets)}
        return {
            name: f"{state}; gateway channels list says why."
            for name, state in states.items()
            if state in ("waiting", "refused")
        }

    def _state(self, name: str) -> ChannelState:
        """Return the state of a channel or a webhook endpoint."""
        trouble = self._contexts[name].trouble
        if trouble is not None:
            return ChannelState(state="refused", detail=trouble)
        talking = self._opened.talking.get(name)
        return talking.state if talking else ChannelState(state="ready", detail="takes signed webhooks")

    async def session(self, name: str, chat: str, agent: str | None) -> SessionKey:
        """Return the key of a chat's current session."""
        return await self._contexts[name].session(chat, agent)

    # --- webhooks ---------------------------------------------------------------------------

    def door(self, name: str) -> Door:
        """Return the webhook receiver of a channel.

        Raises:
            ChannelNotFound: there is no such channel, or it has no secret, or it takes no webhooks.
        """
        talking = self._opened.talking.get(name)
        found = (talking and talking.door) or self._opened.inlets.get(name)
        if found is None:
            raise ChannelNotFound(
                f"this gateway takes no webhooks for {name[:64]!r}.",
                remedy="Configure it under inbound, with a secret.",
            )
        return found

    async def take(self, name: str, headers: Mapping[str, str], body: bytes) -> Run | Aside:
        """Verify and parse a webhook whose headers the receiver has checked, and submit it."""
        return await self.door(name).take(headers, body, self._contexts[name])

    # --- pairing ----------------------------------------------------------------------------

    async def pair(self, name: str) -> tuple[str, int]:
        """Create a code that pairs one chat. Returns the code, and when it expires."""
        return await self._guarded(name).code()

    async def dismiss(self, name: str, chat: str) -> None:
        """Undo the pairing of a chat: it is no longer let in.

        Raises:
            NotFound: the chat is not paired.
        """
        if not await self._guarded(name).dismiss(chat):
            raise NotFound(f"the chat {chat[:64]!r} is not paired.", remedy="See: gateway channels list")

    def _guarded(self, name: str) -> EngineDesk:
        if not self.talks(name):
            raise Conflict(f"the channel {name!r} has no pairing: everyone who has a token may use it.")
        return self._contexts[name]

    # --- sending ----------------------------------------------------------------------------

    def senders(self) -> Mapping[str, ChatSender]:
        """Return the senders of chat replies, by the kind of the deliveries: the channel's name."""
        return {name: ChatSender(channel, self._contexts[name]) for name, channel in self._opened.talking.items()}

    # --- leading ----------------------------------------------------------------------------

    def lead(self, position: int) -> None:
        """Start receiving messages, and showing the progress of runs that start after a position."""
        for name, channel in self._opened.talking.items():
            self._start(f"channel-{name}", partial(self._receive, name, channel), name)
        if self._opened.talking:
            self._position = position
            self._start("channels-live", self._show, "live")

    async def stand_down(self) -> None:
        """Stop receiving and showing progress: another process does it from now on. Stopping twice is fine."""
        await asyncio.gather(*(loop.stop() for loop in self._loops))
        for channel in self._opened.talking.values():
            await channel.quieten()

    def _start(self, task: str, step: Step, name: str) -> None:
        """Start a loop. A channel that fails is started again, so that it does not stay silent for ever."""
        loop = ServiceLoop(task, step, log_errors("channel.broke", channel=name), retry_seconds=AGAIN)
        loop.start()
        self._loops.append(loop)

    async def _receive(self, name: str, channel: Channel) -> float:
        await channel.run(self._contexts[name])
        return AGAIN

    async def _show(self) -> float:
        for run in await self._runs(RunFilter(status=Status.RUNNING), Page(limit=SHOWN)):  # running in another process
            self._show_run(run)
        async for change in await self._changes(self._position):
            self._position = change.seq  # first, so that a change that fails here is not handled again
            if change.topic == "run" and change.state == Status.RUNNING and self._is_ours(change.session):
                self._show_run(await self._run(change.ref))
        return AGAIN

    def _is_ours(self, session: str) -> bool:
        """Return whether a session belongs to a chat channel. Most do not, and then their runs need not be read."""
        key = SessionKey.parse(session)
        return key is not None and key.channel in self._opened.talking

    def _show_run(self, run: Run) -> None:
        if self._is_ours(run.spec.session):
            for target in run.spec.deliver:
                if target.kind in self._opened.talking:
                    self._opened.talking[target.kind].live(run.id, target.address, self._contexts[target.kind])


def said(run: Run) -> bytes:
    """Return the reply that a chat gets when a run has ended."""
    match run.status:
        case Status.SUCCEEDED:
            text = run.result or ""
        case Status.CANCELLED:
            text = f"{run.result}\n\n(stopped)" if run.result else "(stopped)"
        case _:
            text = f"That did not work: {run.error or run.outcome}"
    return text.encode()


#: the functions that make bodies for chats, by the name of the format
BODIES: Mapping[str, Callable[[Run], bytes]] = {CHAT: said}
