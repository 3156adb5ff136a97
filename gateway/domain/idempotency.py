"""Idempotency keys: a request with a key is carried out once, however often it is sent."""

from __future__ import annotations

from msgspec import Struct


class IdempotencyKey(Struct, frozen=True, kw_only=True):
    """The key that a caller gave to a request."""

    #: who uses the key, and where: token and route
    scope: str
    key: str
    #: digest of the body, to detect another body with the same key
    digest: str
    #: how long the key is kept, in milliseconds
    lifetime: int = 24 * 3600 * 1000
