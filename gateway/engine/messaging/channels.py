"""The channels of this gateway: the messages they receive, the chats they let in, and whether they work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from msgspec import Struct, field

from gateway.domain.delivery import CHAT_FORMAT, Delivery, PermanentFailure, SendResult
from gateway.domain.event import Notice
from gateway.domain.inbound import MAX_WEBHOOK_BYTES, ImmediateReply
from gateway.domain.page import Page
from gateway.domain.ports.channel import Channel, ChannelState, OutgoingMessage, WebhookReceiver
from gateway.domain.ports.store import Store
from gateway.domain.run import Outcome, Run, RunFilter, Source, Status
from gateway.domain.session import SessionKey
from gateway.domain.times import Clock
from gateway.engine.messaging.context import EngineChannelContext, PairedChat
from gateway.engine.messaging.webhook_endpoint import WebhookEndpoint
from gateway.engine.resources.agents import Agents
from gateway.engine.resources.files import Files
from gateway.engine.resources.permissions import Permissions
from gateway.engine.resources.runs import Runs
from gateway.engine.service_loop import ServiceLoop, Step, log_errors
from gateway.errors import ChannelNotFound, Conflict, NotFound

#: seconds until a channel that failed is started again
CHANNEL_RETRY_SECONDS = 5.0
#: how many running runs of the process that led before are still shown in their chats
MAX_SHOWN_RUNS = 100


class OpenChannels(Struct, frozen=True, kw_only=True):
    """The channels that a gateway has."""

    #: open channels with chats, by name
    chat_channels: Mapping[str, Channel] = field(default_factory=dict)
    #: endpoints for the webhooks of providers, by name
    webhook_endpoints: Mapping[str, WebhookEndpoint] = field(default_factory=dict)
    #: names of channels that need no code: clients read replies from the session
    session_only: frozenset[str] = frozenset()
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
    paired: Sequence[PairedChat] = ()


class ChatSender:
    """Sends deliveries to the chats of one channel."""

    def __init__(self, channel: Channel, context: EngineChannelContext, runs: Runs) -> None:
        self._channel = channel
        self._context = context
        self._runs = runs

    async def send_delivery(self, delivery: Delivery, body: bytes) -> SendResult:
        # A delivery that somebody retries by hand starts from the beginning: it is due now, and not late.
        since = delivery.next_at if delivery.attempt <= 1 else delivery.created
        out = OutgoingMessage(
            id=delivery.id,
            run=delivery.run,
            chat=delivery.target.address,
            text=body.decode(),
            at=since,
            files=(await self._runs.get_run(delivery.run)).files,
        )
        return await self._channel.send_message(out, self._context)


class Channels:
    """Finds channels; receives their messages while this process leads."""

    def __init__(self, opened: OpenChannels, contexts: Mapping[str, EngineChannelContext], runs: Runs) -> None:
        """Args:
        contexts: one for each chat channel and each webhook endpoint.
        """
        self._opened = opened
        self._contexts = contexts
        self._runs = runs
        self._loops: list[ServiceLoop] = []
        #: position of the last change that was handled
        self._position = 0

    # --- channels and their state -----------------------------------------------------------

    @property
    def channel_names(self) -> Sequence[str]:
        """The names of all channels to which messages can be sent."""
        return sorted({*self._opened.chat_channels, *self._opened.session_only})

    def sends_replies(self, name: str) -> bool:
        """Return whether a channel sends replies. If it does not, clients read them from the session.

        Raises:
            ChannelNotFound: there is no such channel, or it is not configured.
        """
        if name in self._opened.chat_channels:
            return True
        if name in self._opened.session_only:
            return False
        names = ", ".join(self.channel_names)
        known = f"There are: {names}."
        if name in self._opened.unconfigured:
            raise ChannelNotFound(f"the channel {name!r} is not configured.", remedy=f"Set channels.{name}. {known}")
        raise ChannelNotFound(f"there is no channel {name!r}.", remedy=known)

    async def list_views(self) -> list[ChannelView]:
        """Return all channels and webhook endpoints, sorted by name."""
        found = [
            ChannelView(
                name,
                "chat",
                self._read_state(name),
                one.list_allowed_chats(),
                await self._contexts[name].list_paired_chats(),
            )
            for name, one in self._opened.chat_channels.items()
        ]
        always = ChannelState(state="ready", detail="replies are read from the session")
        found += [ChannelView(name, "chat", always) for name in self._opened.session_only]
        found += [ChannelView(name, "webhook", self._read_state(name)) for name in self._opened.webhook_endpoints]
        none = ChannelState(state="unconfigured")
        found += [ChannelView(name, "chat", none) for name in self._opened.unconfigured]
        return sorted(found)

    def read_states(self) -> Mapping[str, ChannelState]:
        """Return the states of all channels and webhook endpoints that are configured, by name."""
        return {name: self._read_state(name) for name in (*self._opened.chat_channels, *self._opened.webhook_endpoints)}

    async def send_text(self, name: str, out: OutgoingMessage) -> SendResult:
        """Send a text that is no answer of an agent to a chat of a channel; try once."""
        if name not in self._opened.chat_channels:
            return PermanentFailure(f"the channel {name} is not configured")
        return await self._opened.chat_channels[name].send_message(out, self._contexts[name])

    @property
    def channel_problems(self) -> Mapping[str, str]:
        """What is wrong, by the name of the channel. The text has no details: anyone may read it."""
        return {
            name: f"{found.state}; gateway channels list says why."
            for name, found in self.read_states().items()
            if found.state in ("waiting", "refused")
        }

    def _read_state(self, name: str) -> ChannelState:
        """Return the state of a channel or a webhook endpoint."""
        trouble = self._contexts[name].agent_problem
        if trouble is not None:
            return ChannelState(state="refused", detail=trouble)
        talking = self._opened.chat_channels.get(name)
        return talking.state if talking else ChannelState(state="ready", detail="takes signed webhooks")

    async def current_session_key(self, name: str, chat: str, agent: str | None) -> SessionKey:
        """Return the key of a chat's current session."""
        return await self._contexts[name].current_session_key(chat, agent)

    # --- webhooks ---------------------------------------------------------------------------

    def find_webhook_receiver(self, name: str) -> WebhookReceiver:
        """Return the webhook receiver of a channel.

        Raises:
            ChannelNotFound: there is no such channel, or it has no secret, or it takes no webhooks.
        """
        talking = self._opened.chat_channels.get(name)
        found = (talking and talking.webhook_receiver) or self._opened.webhook_endpoints.get(name)
        if found is None:
            raise ChannelNotFound(
                f"this gateway takes no webhooks for {name[:64]!r}.",
                remedy="Configure it under inbound, with a secret.",
            )
        return found

    def find_webhook_body_limit(self, name: str) -> tuple[int, str | None]:
        """Return how many bytes a webhook may have, and the setting that says so; None if no setting does."""
        endpoint = self._opened.webhook_endpoints.get(name)
        if endpoint is None:
            return MAX_WEBHOOK_BYTES, None
        return endpoint.max_body_bytes, f"inbound.{name}.max_bytes"

    async def receive_webhook(self, name: str, headers: Mapping[str, str], body: bytes) -> Run | ImmediateReply:
        """Verify and parse a webhook whose headers the receiver has checked, and submit it."""
        return await self.find_webhook_receiver(name).receive(headers, body, self._contexts[name])

    # --- pairing ----------------------------------------------------------------------------

    async def create_pairing_code(self, name: str) -> tuple[str, int]:
        """Create a code that pairs one chat. Returns the code, and when it expires."""
        return await self._require_pairing(name).create_pairing_code()

    async def unpair_chat(self, name: str, chat: str) -> None:
        """Undo the pairing of a chat: it is no longer let in.

        Raises:
            NotFound: the chat is not paired.
        """
        if not await self._require_pairing(name).unpair_chat(chat):
            raise NotFound(f"the chat {chat[:64]!r} is not paired.", remedy="See: gateway channels list")

    def _require_pairing(self, name: str) -> EngineChannelContext:
        if not self.sends_replies(name):
            raise Conflict(f"the channel {name!r} has no pairing: everyone who has a token may use it.")
        return self._contexts[name]

    # --- sending ----------------------------------------------------------------------------

    def senders_by_kind(self) -> Mapping[str, ChatSender]:
        """Return the senders of chat replies, by the kind of the deliveries: the channel's name."""
        return {
            name: ChatSender(channel, self._contexts[name], self._runs)
            for name, channel in self._opened.chat_channels.items()
        }

    # --- leading ----------------------------------------------------------------------------

    def start_receiving(self, position: int) -> None:
        """Start receiving messages, and showing the progress of runs that start after a position."""
        for name, channel in self._opened.chat_channels.items():
            self._start_loop(f"channel-{name}", partial(self._receive_messages, name, channel), name)
        if self._opened.chat_channels:
            self._position = position
            self._start_loop("channels-live", self._show_running_runs, "live")

    async def stop_receiving(self) -> None:
        """Stop receiving and showing progress: another process does it from now on. Stopping twice is fine."""
        await asyncio.gather(*(loop.stop() for loop in self._loops))
        for channel in self._opened.chat_channels.values():
            await channel.stop_progress()

    def _start_loop(self, task: str, step: Step, name: str) -> None:
        """Start a loop that repeats a step. A failed step is retried: a channel must not fall silent."""
        log_error = log_errors("channel.broke", all_as_bugs=True, channel=name)
        loop = ServiceLoop(task, step, log_error, retry_seconds=CHANNEL_RETRY_SECONDS)
        loop.start()
        self._loops.append(loop)

    async def _receive_messages(self, name: str, channel: Channel) -> float:
        await channel.receive_messages(self._contexts[name])
        return CHANNEL_RETRY_SECONDS

    async def _show_running_runs(self) -> float:
        running = await self._runs.list_runs(RunFilter(statuses=(Status.RUNNING,)), Page(limit=MAX_SHOWN_RUNS))
        for run in running:  # in another process
            self._show_run(run)
        async for change in await self._runs.follow_changes(self._position):
            self._position = change.seq  # first, so that a change that fails here is not handled again
            if change.topic == "run" and change.state == Status.RUNNING and self._is_chat_session(change.session):
                self._show_run(await self._runs.get_run(change.ref))
        return CHANNEL_RETRY_SECONDS

    def _is_chat_session(self, session: str) -> bool:
        """Return whether a session belongs to a chat channel. Most do not, and then their runs need not be read."""
        key = SessionKey.parse_key(session)
        return key is not None and key.channel in self._opened.chat_channels

    def _show_run(self, run: Run) -> None:
        if self._is_chat_session(run.spec.session):
            for target in run.spec.deliver:
                if target.kind in self._opened.chat_channels:
                    self._opened.chat_channels[target.kind].show_progress(
                        run.id, target.address, self._contexts[target.kind]
                    )


#: what a chat is told about an answer, below it
_CHAT_REMARKS = {
    Notice.SESSION_RESTARTED: "(The agent had lost this conversation. It was given the transcript.)",
    Notice.CONTEXT_SHORTENED: "(The model could not read the whole conversation: the oldest messages were left out.)",
}
_NEW_CONVERSATION_HINT = "If it goes on like this: /new starts a new conversation."


def make_chat_reply(run: Run) -> bytes:
    """Return the reply that a chat gets when a run has ended."""
    parts = [_describe_end(run), *(_CHAT_REMARKS[notice] for notice in run.notices)]
    # What an agent cannot answer may lie in the conversation. Runs from elsewhere are in other sessions.
    if run.outcome in (Outcome.AGENT_ERROR, Outcome.TIMEOUT) and run.spec.source is Source.MESSAGE:
        parts.append(_NEW_CONVERSATION_HINT)
    return "\n\n".join(parts).encode()


def _describe_end(run: Run) -> str:
    match run.status:
        case Status.SUCCEEDED:
            remark = run.finish.remark if run.finish is not None else ""
            return f"{run.result or ''}\n\n({remark})" if remark else run.result or ""
        case Status.CANCELLED:
            return f"{run.result}\n\n(stopped)" if run.result else "(stopped)"
    return f"That did not work: {run.error or run.outcome}"


#: the functions that make bodies for chats, by the name of the format
CHAT_BODIES: Mapping[str, Callable[[Run], bytes]] = {CHAT_FORMAT: make_chat_reply}


def make_contexts(
    opened: OpenChannels,
    *,
    store: Store,
    runs: Runs,
    files: Files,
    permissions: Permissions,
    agents: Agents,
    clock: Clock,
) -> Mapping[str, EngineChannelContext]:
    """Return a context for each channel and webhook endpoint, by its name."""

    make_context = partial(
        EngineChannelContext,
        store=store,
        runs=runs,
        files=files,
        permissions=permissions,
        agents=agents,
        clock=clock,
    )
    contexts = {name: make_context(name, one.agent, Source.WEBHOOK) for name, one in opened.webhook_endpoints.items()}
    contexts |= {name: make_context(name, one.agent, Source.MESSAGE) for name, one in opened.chat_channels.items()}
    return contexts
