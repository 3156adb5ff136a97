"""Tokens: who may call the API, and what for."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from msgspec import Struct

from gateway.domain.reach import Reach

#: stands for the hash of the gateway's own token where uses are kept
OWN_TOKEN = "owner"  # noqa: S105 a word, and no secret


class Scope(StrEnum):
    """What a token permits. `admin` includes `write`, and `write` includes `read`."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, needed: Scope) -> bool:
        return _SCOPE_ORDER[self] >= _SCOPE_ORDER[needed]


_SCOPE_ORDER = {scope: number for number, scope in enumerate(Scope)}


class Token(Struct, frozen=True, kw_only=True):
    """A named token, or a browser that signed in with one. Only the SHA-256 of its secret is stored."""

    name: str
    #: hex SHA-256 of the secret
    hash: str
    scope: Scope
    #: milliseconds since 1970 UTC; None means that it never expires
    expires: int | None = None
    created: int
    #: what signed in, such as `Firefox on Linux`; None for a token
    browser: str | None = None
    #: hex SHA-256 of the secret of the token that the browser signed in with; None for a token
    parent: str | None = None
    #: when the browser sent a request, in milliseconds since 1970 UTC; None for a token
    last_used: int | None = None
    #: ids of the agents that it reaches; None reaches all
    agents: tuple[str, ...] | None = None
    #: keys of the sessions that it reaches, or their beginnings and an asterisk; None reaches all
    sessions: tuple[str, ...] | None = None

    @property
    def reach(self) -> Reach | None:
        """What it reaches; None if that is everything."""
        if self.agents is None and self.sessions is None:
            return None
        return Reach(agents=self.agents, sessions=self.sessions)


class TokenUse(Struct, frozen=True, kw_only=True):
    """The last use of a token, or of a browser that signed in with one."""

    #: hex SHA-256 of the secret; `owner` for the gateway's own token
    token: str
    #: milliseconds since 1970 UTC
    at: int
    address: str
    #: what sent the request, such as `Firefox on Linux`
    client: str


class Ticket(Struct, frozen=True, kw_only=True):
    """Takes the place of a token once, for a short time: to open a WebSocket, or to sign a browser in.

    Only the SHA-256 of its secret is stored.
    """

    #: hex SHA-256 of the secret
    hash: str
    #: hex SHA-256 of the token's secret; empty if the API needs no token
    token: str
    #: milliseconds since 1970 UTC
    expires: int


def hash_secret(secret: str | bytes) -> str:
    """Return the hex SHA-256 that is stored in place of a secret."""
    data = secret.encode("utf-8", "surrogateescape") if isinstance(secret, str) else secret
    return hashlib.sha256(data).hexdigest()
