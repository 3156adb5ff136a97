"""What comes in from outside without being asked for: a provider's webhook, a chat's message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from gateway.domain.delivery import Target


class InletSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of `inbound`: what `POST /api/webhook/{name}` takes, and what becomes of it."""

    #: how it is signed and read: generic, github, slack, standard or telegram; the entry's own name when not set
    provider: str | None = None
    #: what the sender signs with; several while one takes the place of another. Without a secret there is no route
    secret: str | list[str] | None = None
    #: file whose first line is the secret; if `secret` is not set
    secret_file: str | None = None
    #: name of a variable of the environment or of `.env` that holds the secret; if the two above are not set
    secret_env: str | None = None
    #: id or slug of an agent; the default one when not set
    agent: str | None = None
    #: template of the session's name; the provider's own when not set
    session: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    #: template of what the agent is told; the provider's own when not set
    prompt: Annotated[str, Meta(min_length=1, max_length=100_000)] | None = None
    #: names of the events that are wanted, as `pull_request` or `pull_request.opened`; all when empty
    events: list[str] = field(default_factory=list)
    #: where the answer goes beside the session: a chat, as `telegram:123`
    deliver: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][\w.@-]*:.+$")] | None = None
    #: false takes nothing
    enabled: bool = True


class Inbound(Struct, frozen=True, kw_only=True):
    """Something that came in, verified: it becomes one run."""

    #: the sender's own id of it: what comes again under it is the same
    id: str
    #: name of the session in its channel
    chat: str
    content: str
    #: where the answer goes; None leaves it in the session
    reply_to: Target | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class Aside(Struct, frozen=True, kw_only=True):
    """An answer in the sender's own words: to a challenge, an event that nobody wants, a command."""

    body: dict[str, Any]
