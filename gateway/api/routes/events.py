"""Everything that changes, as one stream: `GET /api/events`, and as a WebSocket: `GET /api/ws`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway.api import reply, sockets, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.token import Scope

ROUTES = Routes("events")


class From(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: id of the last change that is known; without it, only what comes from now on
    after: Annotated[int, Meta(ge=0, le=views.LAST)] | None = None


class SocketFrom(From, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ticket: sockets.Ticket = None


@ROUTES.add("GET", "/api/events", scope=Scope.READ, query=From, streams=True)
async def all_changes(call: Call[Nothing, From]) -> web.StreamResponse:
    """Follow all changes of runs and sessions; resumable by `Last-Event-ID` or `after`."""
    after = reply.resume_point(call, call.query.after)
    if after is None:
        after = await call.engine.last_change()
    return await reply.stream(call, _frames(call, after))


async def _frames(call: Call[Nothing, From], after: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(call.engine.changes(after)) as changes:
        async for change in changes:
            yield reply.change_frame(change)


@ROUTES.add("GET", "/api/ws", scope=Scope.READ, query=SocketFrom, status=101, socket=True)
async def changes_socket(call: Call[Nothing, SocketFrom]) -> web.StreamResponse:
    """Follow all changes over a WebSocket, one JSON text each; its `seq` is what `after` takes to go on."""
    after = call.query.after
    if after is None:
        after = await call.engine.last_change()
    return await sockets.serve(call, _texts(call, after))


async def _texts(call: Call[Nothing, SocketFrom], after: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(call.engine.changes(after)) as changes:
        async for change in changes:
            yield msgspec.json.encode(change)
