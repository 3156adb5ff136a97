"""A caller's own name for a request, under which the request is done once."""

from __future__ import annotations

from msgspec import Struct


class IdempotencyKey(Struct, frozen=True, kw_only=True):
    """A caller's own name for a request."""

    #: whose key it is: token and route
    scope: str
    key: str
    #: digest of the body, so that another body under the same key is noticed
    digest: str
    #: how long it is remembered, in milliseconds
    lifetime: int = 24 * 3600 * 1000
