"""All changes as one stream: `GET /api/events`, and over a WebSocket: `GET /api/ws`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway.api import fields, sse, websockets
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.event import Change
from gateway.domain.token import Scope

ROUTES = Routes("events")


class From(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: id of the last change that the client knows; when left out, only new changes are sent
    after: Annotated[int, Meta(ge=0, le=fields.MAX_LOG_POSITION)] | None = None


class SocketFrom(From, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ticket: websockets.Ticket = None


@ROUTES.add("GET", "/api/events", scope=Scope.READ, query=From, streams=True)
async def all_changes(call: Call[Nothing, From]) -> web.StreamResponse:
    """Follow all changes; `Last-Event-ID` or `after` resumes."""
    after = sse.read_resume_point(call, call.query.after)
    return await sse.send_stream(call, await call.engine.runs.follow_changes(after), sse.encode_change)


@ROUTES.add("GET", "/api/ws", scope=Scope.READ, query=SocketFrom, status=101, socket=True)
async def changes_socket(call: Call[Nothing, SocketFrom]) -> web.StreamResponse:
    """Follow all changes over a WebSocket, one JSON text each; send the last `seq` as `after` to continue."""
    return await websockets.serve_websocket(
        call, _encode_changes(await call.engine.runs.follow_changes(call.query.after))
    )


async def _encode_changes(changes: AsyncIterator[Change]) -> AsyncGenerator[bytes, None]:
    async for change in changes:
        yield msgspec.json.encode(change)
