"""What arrives from outside: webhooks of providers and messages of chats."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from gateway.domain.delivery import Target
from gateway.domain.file import File

#: bytes that the body of a webhook may have, if the settings do not say otherwise
MAX_WEBHOOK_BYTES = 5_000_000


class WebhookEndpointSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of `inbound`: what `POST /api/webhook/{name}` accepts, and the run that it becomes."""

    #: who sends it: generic, github, slack, standard or telegram; the entry's own name when not set
    provider: str | None = None
    #: the sender's signing secret, or several during a rotation. Without a secret there is no route
    secret: str | list[str] | None = None
    #: file whose first line is the secret; used if `secret` is not set
    secret_file: str | None = None
    #: variable of the environment or of `.env` with the secret; used if the two above are not set
    secret_env: str | None = None
    #: id or slug of an agent; the default agent when not set
    agent: str | None = None
    #: template of the session's name; the provider's default when not set
    session: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    #: template of the prompt; the provider's default when not set
    prompt: Annotated[str, Meta(min_length=1, max_length=100_000)] | None = None
    #: events to accept, such as `pull_request` or `pull_request.opened`; all when empty
    events: list[str] = field(default_factory=list)
    #: chat that the answer is sent to, in addition to the session: for example `telegram:123`
    deliver: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][\w.@-]*:.+$")] | None = None
    #: the most bytes that a webhook's body may have, whatever `limits.body` says
    max_bytes: Annotated[int, Meta(ge=1024, le=64 << 20)] = MAX_WEBHOOK_BYTES
    #: when false, nothing is accepted
    enabled: bool = True


class FileNotFetched(Exception):
    """The sender does not hand out a file, and another try would fail too. The text says why."""


class IncomingFile(Struct, frozen=True, kw_only=True):
    """A file of a message. Its sender still has the content."""

    name: str = ""
    #: as the sender says it; may be empty
    media_type: str = ""
    #: in bytes; None if the sender does not say it
    size: int | None = None
    #: fetches the content. Raises `FileNotFetched`; any other error means that the message is submitted again later
    open_stream: Callable[[], AsyncGenerator[bytes, None]]


def _ignore(reason: str) -> None: ...


class InboundMessage(Struct, frozen=True, kw_only=True):
    """A verified webhook or chat message. It becomes one run."""

    #: the sender's id of the message: a second one with this id is a repetition
    id: str
    #: name of the session in its channel
    chat: str
    content: str
    #: where the answer is sent; with None it stays in the session
    reply_to: Target | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    #: files of the message; one of a run that is stored already is a `File`
    attachments: tuple[IncomingFile | File, ...] = ()
    #: is told of each file that cannot be attached, and why, once the run is stored
    tell_left_out: Callable[[str], None] = _ignore


class ImmediateReply(Struct, frozen=True, kw_only=True):
    """A response in the sender's own format, without a run: to a challenge, an unwanted event or a command."""

    body: dict[str, Any]
