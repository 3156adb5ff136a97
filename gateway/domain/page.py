"""Paging through lists."""

from __future__ import annotations

from msgspec import Struct


class Page(Struct, frozen=True, kw_only=True):
    """Which part of a list to read, newest first: at most `limit` rows that are older than `before`.

    With `max_bytes`, a list of long rows may end after so many bytes, but not before its second row.
    """

    limit: int = 50
    before: int | None = None
    max_bytes: int | None = None
