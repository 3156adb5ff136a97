"""The channels of this gateway: what comes in by them, who is let in, and whether they work."""

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

#: seconds until a channel that broke is begun again
AGAIN = 5.0
#: runs of a process that hands over which are shown on, at the most
SHOWN = 100


class Opened(Struct, frozen=True, kw_only=True):
    """The channels that a gateway has."""

    #: places with people in them, opened, by name
    talking: Mapping[str, Channel] = field(default_factory=dict)
    #: what takes providers' webhooks, by name
    inlets: Mapping[str, Inlet] = field(default_factory=dict)
    #: names of channels that need nothing: their replies are read from the session
    silent: frozenset[str] = frozenset()
    #: names of channels that we know and that are not configured
    unconfigured: frozenset[str] = frozenset()


class ChannelView(NamedTuple):
    """A channel, and whether it works."""

    name: str
    #: `chat` or `webhook`
    kind: str
    state: ChannelState
    #: chats that the settings let in
    allowed: Sequence[str] = ()
    #: chats that a code let in
    paired: Sequence[Paired] = ()


class ChatSender:
    """Sends deliveries to the chats of one channel."""

    def __init__(self, channel: Channel, desk: EngineDesk) -> None:
        self._channel = channel
        self._desk = desk

    async def send(self, delivery: Delivery, body: bytes) -> Receipt:
        # A delivery that somebody retries by hand begins anew: it is due now, and not late.
        since = delivery.next_at if delivery.attempt <= 1 else delivery.created
        out = Outgoing(id=delivery.id, run=delivery.run, chat=delivery.target.address, text=body.decode(), at=since)
        return await self._channel.send(out, self._desk)


class Channels:
    """Looks channels up; brings in what is said in them, while this process leads."""

    def __init__(
        self,
        opened: Opened,
        desks: Mapping[str, EngineDesk],
        changes: Callable[[int], Awaitable[AsyncIterator[Change]]],
        run: Callable[[str], Awaitable[Run]],
        runs: Callable[[RunFilter, Page], Awaitable[Sequence[Run]]],
    ) -> None:
        """Args:
        desks: one for each that talks and each inlet.
        changes: follows all changes after a position.
        run: looks a run up; `runs` lists them.
        """
        self._opened = opened
        self._desks = desks
        self._changes = changes
        self._run = run
        self._runs = runs
        self._loops: list[ServiceLoop] = []
        #: of the last change that was looked at
        self._position = 0

    # --- which there are --------------------------------------------------------------------

    @property
    def names(self) -> Sequence[str]:
        """The channels that something can be said in."""
        return sorted({*self._opened.talking, *self._opened.silent})

    def talks(self, name: str) -> bool:
        """Tell whether a channel sends replies; those of another are read from the session.

        Raises:
            ChannelNotFound: there is none with that name, or it is not configured.
        """
        if name in self._opened.talking:
            return True
        if name in self._opened.silent:
            return False
        known = f"There are: {', '.join(self.names)}."
        if name in self._opened.unconfigured:
            raise ChannelNotFound(f"the channel {name!r} is not configured.", remedy=f"Set channels.{name}. {known}")
        raise ChannelNotFound(f"there is no channel {name!r}.", remedy=known)

    async def views(self) -> list[ChannelView]:
        """Return all channels and inlets, by name."""
        found = [
            ChannelView(name, "chat", self._state(name), one.allowed(), await self._desks[name].paired())
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
        """What is wrong, by the channel's name; in words that a stranger may read."""
        states = {name: self._state(name).state for name in (*self._opened.talking, *self._opened.inlets)}
        return {
            name: f"{state}; gateway channels list says why."
            for name, state in states.items()
            if state in ("waiting", "refused")
        }

    def _state(self, name: str) -> ChannelState:
        """Return how a channel or an inlet is."""
        trouble = self._desks[name].trouble
        if trouble is not None:
            return ChannelState(state="refused", detail=trouble)
        talking = self._opened.talking.get(name)
        return talking.state if talking else ChannelState(state="ready", detail="takes signed webhooks")

    async def session(self, name: str, chat: str, agent: str | None) -> SessionKey:
        """Return the key of the session that a chat has now."""
        return await self._desks[name].session(chat, agent)

    # --- what is posted ---------------------------------------------------------------------

    def door(self, name: str) -> Door:
        """Return where a channel's webhook goes.

        Raises:
            ChannelNotFound: there is none with that name, or it has no secret, or takes none.
        """
        talking = self._opened.talking.get(name)
        found = (talking and talking.door) or self._opened.inlets.get(name)
        if found is None:
            raise ChannelNotFound(
                f"no webhook is taken for {name[:64]!r}.", remedy="Configure it under inbound, with a secret."
            )
        return found

    async def take(self, name: str, headers: Mapping[str, str], body: bytes) -> Run | Aside:
        """Verify, read and hand in what was posted to a channel whose `door` has let it in."""
        return await self.door(name).take(headers, body, self._desks[name])

    # --- who is let in ----------------------------------------------------------------------

    async def pair(self, name: str) -> tuple[str, int]:
        """Make a code that lets one chat in; returns it, and when its time is over."""
        return await self._guarded(name).code()

    async def dismiss(self, name: str, chat: str) -> None:
        """Let a paired chat in no more.

        Raises:
            NotFound: it was not paired.
        """
        if not await self._guarded(name).dismiss(chat):
            raise NotFound(f"the chat {chat[:64]!r} was not paired.", remedy="See: gateway channels list")

    def _guarded(self, name: str) -> EngineDesk:
        if not self.talks(name):
            raise Conflict(f"the channel {name!r} lets everyone in who has a token: nothing is paired there.")
        return self._desks[name]

    # --- what goes out ----------------------------------------------------------------------

    def senders(self) -> Mapping[str, ChatSender]:
        """Return what sends deliveries, by their kind: the channel's name."""
        return {name: ChatSender(channel, self._desks[name]) for name, channel in self._opened.talking.items()}

    # --- leading ----------------------------------------------------------------------------

    def lead(self, position: int) -> None:
        """Begin to bring in what is said, and to show what runs say that begin after a position."""
        for name, channel in self._opened.talking.items():
            self._start(f"channel-{name}", partial(self._receive, name, channel), name)
        if self._opened.talking:
            self._position = position
            self._start("channels-live", self._show, "live")

    async def stand_down(self) -> None:
        """Bring in and show no more: another process does. Twice is fine."""
        await asyncio.gather(*(loop.stop() for loop in self._loops))
        for channel in self._opened.talking.values():
            await channel.quieten()

    def _start(self, task: str, step: Step, name: str) -> None:
        """Start a loop that repeats a step. What breaks once must not stay silent for ever."""
        loop = ServiceLoop(task, step, log_errors("channel.broke", channel=name), retry_seconds=AGAIN)
        loop.start()
        self._loops.append(loop)

    async def _receive(self, name: str, channel: Channel) -> float:
        await channel.run(self._desks[name])
        return AGAIN

    async def _show(self) -> float:
        for run in await self._runs(RunFilter(status=Status.RUNNING), Page(limit=SHOWN)):  # at work in another process
            self._show_run(run)
        async for change in await self._changes(self._position):
            self._position = change.seq  # what breaks here is not begun with again
            if change.topic == "run" and change.state == Status.RUNNING and self._is_ours(change.session):
                self._show_run(await self._run(change.ref))
        return AGAIN

    def _is_ours(self, session: str) -> bool:
        """Tell whether a session is one of a channel that talks: most are not, and need no look at their runs."""
        key = SessionKey.parse(session)
        return key is not None and key.channel in self._opened.talking

    def _show_run(self, run: Run) -> None:
        if self._is_ours(run.spec.session):
            for target in run.spec.deliver:
                if target.kind in self._opened.talking:
                    self._opened.talking[target.kind].live(run.id, target.address, self._desks[target.kind])


def said(run: Run) -> bytes:
    """Return what people are told in a chat when a run has ended."""
    match run.status:
        case Status.SUCCEEDED:
            text = run.result or ""
        case Status.CANCELLED:
            text = f"{run.result}\n\n(stopped)" if run.result else "(stopped)"
        case _:
            text = f"That did not work: {run.error or run.outcome}"
    return text.encode()


#: the format of bodies that is spoken in chats
BODIES: Mapping[str, Callable[[Run], bytes]] = {CHAT: said}
