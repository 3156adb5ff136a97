"""What the engine needs from a channel and from a sender, and what the engine does for a channel."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from gateway.domain.delivery import Delivery, SendResult
from gateway.domain.event import Event
from gateway.domain.file import File
from gateway.domain.inbound import ImmediateReply, InboundMessage
from gateway.domain.permission import Answer, PermissionRequest
from gateway.domain.question import AnswerContent
from gateway.domain.run import Run


class ChatStatus(Struct, frozen=True, kw_only=True):
    """The state of a chat's session: its agent and its unfinished runs."""

    #: key of the session
    session: str
    agent: str
    running_runs: int
    queued_runs: int


class ChannelContext(Protocol):
    """What the engine does for a channel or a webhook endpoint. Each has a context of its own, with its own notes."""

    async def submit_message(self, inbound: InboundMessage) -> Run:
        """Submit a message. When this returns, its run is stored with its files, exactly once.

        A file that is too large, or that its sender does not hand out, is left out: the input says so, and
        `tell_left_out` is told.

        Raises:
            GatewayError: the message was not accepted; the error says why.
            Exception: what a file's `open_stream` raises, except `FileNotFetched`; nothing was accepted.
        """
        ...

    async def find_run(self, label: str, value: str) -> Run | None:
        """Return the newest run with this label, or None if there is none."""
        ...

    async def change_input(self, run: str, content: str) -> bool:
        """Change what a run asks, unless an agent has seen it; return whether it was changed. Its files stay."""
        ...

    async def cancel_runs(self, chat: str) -> int:
        """Cancel the queued and running runs of a chat's session, and return how many there were."""
        ...

    async def answer_permission(
        self,
        chat: str,
        answer: Answer,
        which: tuple[str, str] | None = None,
        content: AnswerContent | str | None = None,
    ) -> PermissionRequest | None:
        """Answer the oldest open permission request of a chat's session, and return it; None if none is open.

        Args:
            which: the ids of a run and of its request, to answer only that one.
            content: the answers to the fields of a question, or a text that a person has typed.

        Raises:
            InvalidRequest: the request does not have this answer among its choices, or the content does not fit.
            Conflict: somebody else answered at the same moment.
        """
        ...

    async def find_question(self, chat: str, which: tuple[str, str]) -> PermissionRequest | None:
        """Return the open question with these ids of a run and of its request; None if it is not one of the chat's."""
        ...

    async def read_status(self, chat: str) -> ChatStatus:
        """Return what is going on in a chat's session."""
        ...

    async def start_new_session(self, chat: str) -> None:
        """Start a new session for a chat; the previous one is kept."""
        ...

    async def is_paired(self, chat: str) -> bool:
        """Return whether a chat is paired."""
        ...

    async def redeem_code(self, code: str, chat: str, title: str) -> bool:
        """Pair a chat if the code is valid, and return whether it was. A code works only once."""
        ...

    async def rename_chat(self, chat: str, to: str) -> None:
        """Change the id of a paired chat."""
        ...

    async def read_note(self, name: str) -> str | None:
        """Return the note with a name, or None if there is none."""
        ...

    async def write_note(self, name: str, value: str, *, days: float | None = None) -> None:
        """Store a note for a number of days, or forever. When this returns, it is on disk."""
        ...

    async def list_notes(self, prefix: str) -> Mapping[str, str]:
        """Return all notes whose names begin with a prefix, sorted by name."""
        ...

    async def save_notes(
        self, changes: Mapping[str, str | None], *, days: float | None = None, only_if: str | None = None
    ) -> bool:
        """Store notes for a number of days, or forever: all or none. A value of None deletes a note.

        Args:
            only_if: unless there is a note of that name, do nothing and return False.
        """
        ...

    async def fetch_content(self, file: File) -> Path:
        """Return the local file with the content of a file; bring it to this machine first if it is elsewhere.

        It must not be changed; it may be gone. Open it soon.

        Raises:
            StorageFull, Unavailable: it cannot be brought here.
        """
        ...

    def watch_run(self, run: str) -> AsyncGenerator[Event, None]:
        """Yield the events of a run, from the first one to its end."""
        ...


class WebhookReceiver(Protocol):
    """The part of a channel or a webhook endpoint that receives HTTP requests. It knows its secrets."""

    def check_headers(self, headers: Mapping[str, str]) -> None:
        """Check all that the headers alone can prove, before the body is read.

        Raises:
            Unauthorized: a signature or token is missing or wrong, or its timestamp is too old or too new.
        """
        ...

    async def receive(self, headers: Mapping[str, str], body: bytes, context: ChannelContext) -> Run | ImmediateReply:
        """Verify the raw body, then parse it, then submit it.

        Raises:
            Unauthorized: the signature is missing or wrong.
            InvalidRequest: the body cannot be parsed, or lacks a value that a template needs.
        """
        ...


class ChannelState(Struct, frozen=True, kw_only=True):
    """Whether a channel works."""

    #: `polling`, `webhook`, `passive`, `waiting` or `refused`
    state: str
    #: what is wrong; or, if all is well, the channel's own name on its platform
    detail: str = ""
    #: when its platform last answered that there are messages or none, in milliseconds since 1970 UTC; None if it
    #: never has, or is not asked
    last_poll: int | None = None


class OutgoingMessage(Struct, frozen=True, kw_only=True):
    """An answer that is being sent to a chat."""

    #: the same at each attempt
    id: str
    #: id of the run that it answers for
    run: str
    chat: str
    text: str
    #: since when it is due, in milliseconds since 1970 UTC
    at: int
    #: files that the agent made; `ChannelContext.fetch_content` finds their content
    files: Sequence[File] = ()
    #: whether the text is to be shown as it is, and is no Markdown
    is_plain: bool = False


class Channel(Protocol):
    """A messaging platform with people. Its name is part of session keys. Opened once, as an async context manager."""

    name: str
    #: id of the agent that answers there; None means the default agent
    agent: str | None

    async def __aenter__(self) -> Channel: ...

    async def __aexit__(self, *exc: object) -> None: ...

    @property
    def webhook_receiver(self) -> WebhookReceiver | None:
        """The receiver of its webhook; None if it has none."""
        ...

    @property
    def state(self) -> ChannelState: ...

    def list_allowed_chats(self) -> Sequence[str]:
        """Return the chats that the settings allow; paired chats are allowed in addition to these."""
        ...

    async def receive_messages(self, context: ChannelContext) -> None:
        """Receive messages and submit them, until cancelled. Only the leading process does that."""
        ...

    def show_progress(self, run: str, chat: str, context: ChannelContext) -> None:
        """Start to show in a chat that a run is in progress, and its answer so far. Returns immediately."""
        ...

    async def send_message(self, out: OutgoingMessage, context: ChannelContext) -> SendResult:
        """Send an answer. An attempt continues where the previous one was interrupted."""
        ...

    async def stop_progress(self) -> None:
        """Stop showing the progress of all runs: another process sends their answers."""
        ...


class DeliverySender(Protocol):
    """Sends deliveries of one kind: webhooks, or the replies of one channel."""

    async def send_delivery(self, delivery: Delivery, body: bytes) -> SendResult:
        """Attempt once to send a body, and return the result. It has a timeout of its own, of some seconds.

        An exception counts as a failure that may succeed later. A receiver that accepted a delivery but could not
        confirm it receives the delivery again, and recognises it by `delivery.id`.
        """
        ...
