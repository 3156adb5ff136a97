"""Who acts: the caller of the current request, for the audit log."""

from __future__ import annotations

from contextvars import ContextVar
from enum import StrEnum

from msgspec import Struct


class ActorKind(StrEnum):
    """What kind of caller acts."""

    #: a program or person with a token; `owner` has the gateway's own token
    TOKEN = "token"  # noqa: S105 a word, and no secret
    #: a browser that is signed in
    BROWSER = "browser"
    #: a person in a chat
    CHAT = "chat"
    #: somebody who sent no valid token
    STRANGER = "stranger"
    #: the gateway itself, and commands on its machine that signal it
    SYSTEM = "system"


class Actor(Struct, frozen=True, kw_only=True):
    """Who acts."""

    kind: ActorKind = ActorKind.SYSTEM
    #: name of the token; `channel:chat` of a chat; empty for the gateway itself
    name: str = ""
    #: where the request came from; empty if there was none
    address: str = ""


SYSTEM_ACTOR = Actor()
#: who sent the current request; the gateway itself outside of requests
CURRENT_ACTOR: ContextVar[Actor] = ContextVar("current_actor", default=SYSTEM_ACTOR)
