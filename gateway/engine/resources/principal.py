"""Callers that are let in."""

from __future__ import annotations

from gateway.domain.reach import Reach
from gateway.domain.token import Scope
from gateway.engine.latch import Latch


class Principal:
    """An authenticated caller."""

    def __init__(
        self, name: str, scope: Scope, expires: int | None = None, reach: Reach | None = None, hash_: str = ""
    ) -> None:
        self.name = name
        self.scope = scope
        #: milliseconds since 1970 UTC; None never expires
        self.expires = expires
        #: the agents and sessions that it is limited to; None reaches all
        self.reach = reach
        #: hex SHA-256 of the secret that the caller sends; `OWN_TOKEN` for the gateway's own token
        self.hash = hash_
        #: set when the token is revoked, which ends live streams of this caller
        self.revoked = Latch()
