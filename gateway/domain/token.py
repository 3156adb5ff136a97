"""Tokens: who may call, and for what."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from msgspec import Struct


class Scope(StrEnum):
    """What a token allows. `admin` includes `write`, which includes `read`."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, needed: Scope) -> bool:
        return _ORDER[self] >= _ORDER[needed]


_ORDER = {scope: number for number, scope in enumerate(Scope)}


class Token(Struct, frozen=True, kw_only=True):
    """A named token; only its SHA-256 is kept."""

    name: str
    #: hex SHA-256 of the secret
    hash: str
    scope: Scope
    #: milliseconds since 1970 UTC; None never expires
    expires: int | None = None
    created: int


class Ticket(Struct, frozen=True, kw_only=True):
    """Stands for a token once, for a short time; only its SHA-256 is kept."""

    #: hex SHA-256 of the secret
    hash: str
    #: hex SHA-256 of the token's secret; empty where nobody needs one
    token: str
    #: milliseconds since 1970 UTC
    expires: int


def digest(secret: str | bytes) -> str:
    """Return the hex SHA-256 that stands for a secret at rest."""
    data = secret.encode("utf-8", "surrogateescape") if isinstance(secret, str) else secret
    return hashlib.sha256(data).hexdigest()
