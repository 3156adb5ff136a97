"""Pages of lists: newest first, with an opaque cursor that leads to the next page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from msgspec import Meta, Struct

from gateway.domain.page import Page

T = TypeVar("T")


class Paging(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of a list to return."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    #: `next_cursor` of the page before
    cursor: Annotated[str, Meta(pattern=r"^[0-9]{1,18}$(?!\n)")] | None = None


def page_to_fetch(asked: Paging) -> Page:
    """Return the page to fetch from the store: one row more than asked, which shows whether there is a next page."""
    return Page(limit=asked.limit + 1, before=None if asked.cursor is None else int(asked.cursor))


def cut_page(asked: Paging, rows: Sequence[T], position: Callable[[T], int]) -> tuple[Sequence[T], str | None]:
    """Return the rows of this page, and the cursor of the next page or None."""
    if len(rows) <= asked.limit:
        return rows, None
    shown = rows[: asked.limit]
    return shown, str(position(shown[-1]))
