"""Callers that are let in."""

from __future__ import annotations

from gateway.domain.token import Scope
from gateway.engine.latch import Latch


class Principal:
    """An authenticated caller."""

    def __init__(self, name: str, scope: Scope, expires: int | None = None) -> None:
        self.name = name
        self.scope = scope
        #: milliseconds since 1970 UTC; None never expires
        self.expires = expires
        #: set when the token is revoked, which ends live streams of this caller
        self.revoked = Latch()
