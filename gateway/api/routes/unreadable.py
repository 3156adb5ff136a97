"""Unreadable rows: what is stored, but was set aside because it cannot be decoded."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.token import Scope
from gateway.domain.unreadable import RowKind
from gateway.errors import NotFound

ROUTES = Routes("unreadable")


class UnreadableShown(Struct, frozen=True, kw_only=True):
    """A row that was set aside; the others of its kind go on without it."""

    #: task, event, permission, delivery, schedule, fire, message, agent, token, note or process
    kind: str
    #: its id in the store
    id: str
    #: why it cannot be read
    reason: str
    #: when this was found
    found_at: str


class UnreadableList(Struct, frozen=True, kw_only=True):
    #: in the order in which they were found, since the start of the gateway
    rows: list[UnreadableShown]


class RowRemoved(Struct, frozen=True):
    status: str = "ok"


@ROUTES.add("GET", "/api/unreadable", scope=Scope.READ, answer=UnreadableList)
async def list_unreadable_rows(call: Call[Nothing, Nothing]) -> UnreadableList:
    """List what is stored, but cannot be read."""
    return UnreadableList(
        rows=[
            UnreadableShown(kind=row.kind, id=row.id, reason=row.reason, found_at=times.format_rfc3339(row.found))
            for row in await call.engine.unreadable.list_rows()
        ]
    )


@ROUTES.add("DELETE", "/api/unreadable/{kind}/{id}", scope=Scope.ADMIN, answer=RowRemoved)
async def remove_unreadable_row(call: Call[Nothing, Nothing]) -> RowRemoved:
    """Delete an unreadable row for good."""
    try:
        kind = RowKind(call.path["kind"])
    except ValueError:
        raise NotFound(f"there is no kind {call.path['kind'][:64]!r}: {', '.join(RowKind)}.") from None
    await asyncio.shield(call.engine.unreadable.remove_row(kind, call.path["id"]))
    return RowRemoved()
