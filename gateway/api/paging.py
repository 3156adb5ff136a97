"""Pages of lists: newest first, with an opaque cursor that leads to the next page.

A page ends after so many rows, or after so many bytes. So its size does not depend on what is in the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway.domain.page import Page

T = TypeVar("T")
V = TypeVar("V", bound=Struct)

#: bytes of JSON after which a page ends; a single row may have more
MAX_PAGE_BYTES = 1 << 20

_encode = msgspec.json.Encoder().encode


#: the most entries of a page
Limit = Annotated[int, Meta(ge=1, le=500)]
#: `next_cursor` of the page before
Cursor = Annotated[str, Meta(pattern=r"^[0-9]{1,18}$(?!\n)")]


class Paging(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of a list to return."""

    #: the most entries of a page; one with long entries has fewer
    limit: Limit = 50
    #: `next_cursor` of the page before
    cursor: Cursor | None = None


def page_to_fetch(asked: Paging) -> Page:
    """Return the page to fetch from the store: one row more than asked, which shows whether there is a next page.

    The store may stop after twice the bytes that are shown: then, too, there is a row more than is shown.
    """
    before = None if asked.cursor is None else int(asked.cursor)
    return Page(limit=asked.limit + 1, before=before, max_bytes=2 * MAX_PAGE_BYTES)


def render_page(
    asked: Paging, rows: Sequence[T], position: Callable[[T], int], render: Callable[[T], V]
) -> tuple[list[V], str | None]:
    """Return the entries of this page, and the cursor of the next page or None.

    Args:
        position: returns what a cursor names, for example the number of a row.
        render: returns what clients see of a row.
    """
    shown: list[V] = []
    room = MAX_PAGE_BYTES
    for row in rows:
        entry = render(row)
        room -= len(_encode(entry))
        if len(shown) == asked.limit or (room < 0 and shown):
            return shown, str(position(rows[len(shown) - 1]))
        shown.append(entry)
    return shown, None
