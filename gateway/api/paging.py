"""Pages of lists: newest first, with an opaque cursor to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from gateway.domain.ports import Page


class Paging(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of a list."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    #: as the page before gave it
    cursor: Annotated[str, Meta(pattern=r"^[0-9]{1,18}$(?!\n)")] | None = None


def page(asked: Paging) -> Page:
    return Page(limit=asked.limit, before=None if asked.cursor is None else int(asked.cursor))


def cursor(page: Page, positions: Sequence[int]) -> str | None:
    """Return the cursor of the next page, or None if this was the last one."""
    return str(positions[-1]) if len(positions) == page.limit else None
