"""Providers of webhooks: how each signs its requests, and what they say. One module for each provider.

To add a provider, add one module with an attribute `PROVIDER`, a `Provider`. Its functions are pure:

    def check_headers(headers: Headers, secrets: Secrets, now: int) -> None: ...    # before the body is read
    def verify_signature(headers: Headers, body: bytes, secrets: Secrets) -> None: ...
    def read_webhook(headers: Headers, body: bytes, payload: Payload) -> ParsedWebhook: ...

    PROVIDER = Provider(
        check_headers=check_headers,
        verify_signature=verify_signature,
        read_webhook=read_webhook,
        prompt="{text}",
        session="{user}",
    )

`check_headers` and `verify_signature` raise `Unauthorized`. The module's name is the provider's name in `inbound`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from msgspec import Struct

from gateway import plugins
from gateway.domain.delivery import Target

#: a request's headers; names are case-insensitive
Headers = Mapping[str, str]
#: the secret, or several during a rotation
Secrets = Sequence[str]
Payload = Mapping[str, Any]


class ParsedWebhook(Struct, frozen=True, kw_only=True):
    """The content of a verified webhook."""

    #: the provider's id of the event
    id: str = ""
    #: names of the event, the most general first
    events: tuple[str, ...] = ()
    #: the response, if the provider needs nothing but a response
    immediate_reply: dict[str, Any] | None = None
    #: why no agent needs to act on it; empty if one does
    ignore_reason: str = ""
    #: makes the response from the run's id; None for the usual response
    make_run_reply: Callable[[str], dict[str, Any]] | None = None
    #: where to send the run's answer, if the provider asks for one
    reply_to: Target | None = None


class Provider(Struct, frozen=True, kw_only=True):
    """What a provider's module declares."""

    #: refuses a request with a header that is missing or too old; `now` is in seconds since 1970 UTC
    check_headers: Callable[[Headers, Secrets, int], None]
    #: refuses a request whose raw body is not signed with a secret
    verify_signature: Callable[[Headers, bytes, Secrets], None]
    #: returns the content; raises `InvalidRequest` if this provider does not send such a thing
    read_webhook: Callable[[Headers, bytes, Payload], ParsedWebhook]
    #: template of the prompt
    prompt: str
    #: template of the session's name
    session: str
    #: raises `ConfigError` for a text that cannot be a secret; None if every text can
    check_secret: Callable[[str], object] | None = None


@cache
def find_providers() -> Mapping[str, Provider]:
    """Return all providers by name."""
    return plugins.discover_modules(__name__, "PROVIDER")
