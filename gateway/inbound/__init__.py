"""How other systems sign what they post to us, and what it says: one module a provider.

To add a provider, add one module with an attribute `PROVIDER`, a `Provider`. Its functions are pure:

    def admit(headers: Headers, secrets: Secrets, now: int) -> None: ...    # by the header alone, body unread
    def verify(headers: Headers, body: bytes, secrets: Secrets) -> None: ...
    def read(headers: Headers, body: bytes, payload: Payload) -> Posted: ...

    PROVIDER = Provider(admit=admit, verify=verify, read=read, prompt="{text}", session="{user}")

`admit` and `verify` raise `Unauthorized`. The module's name is the provider's name in `inbound`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from msgspec import Struct

from gateway import plugins
from gateway.domain.delivery import Target

#: a request's header; names are found in any case
Headers = Mapping[str, str]
#: the right one, or several while one takes the place of another
Secrets = Sequence[str]
Payload = Mapping[str, Any]


class Posted(Struct, frozen=True, kw_only=True):
    """What a verified request is about."""

    #: the provider's id of it
    id: str = ""
    #: names of its event, the most general first
    events: tuple[str, ...] = ()
    #: how the provider wants to be answered at once, if it wants no more than that
    answer: dict[str, Any] | None = None
    #: why nobody needs to act on it; empty if somebody does
    idle: str = ""
    #: how the provider wants to be told which run acts on it, by the run's id; None is as all are told
    taken: Callable[[str], dict[str, Any]] | None = None
    #: where the provider wants the run's answer
    reply_to: Target | None = None


class Provider(Struct, frozen=True, kw_only=True):
    """What a provider's module shows."""

    #: refuses what lacks a header, or has one from another time; `now` in seconds since 1970 UTC
    admit: Callable[[Headers, Secrets, int], None]
    #: refuses what is not signed by a secret, over the bytes as they came
    verify: Callable[[Headers, bytes, Secrets], None]
    #: says what it is; raises `InvalidRequest` if it is not what this provider sends
    read: Callable[[Headers, bytes, Payload], Posted]
    #: template of what the agent is told
    prompt: str
    #: template of the session's name
    session: str
    #: refuses a secret that cannot be one by `ConfigError`, where not every text can
    check_secret: Callable[[str], object] | None = None


@cache
def providers() -> Mapping[str, Provider]:
    """Return all providers by name."""
    return plugins.discover(__name__, "PROVIDER")
