"""A part of a list."""

from __future__ import annotations

from msgspec import Struct


class Page(Struct, frozen=True, kw_only=True):
    """A part of a list, newest first: at most `limit` rows older than `before`."""

    limit: int = 50
    before: int | None = None
