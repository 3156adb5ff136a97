"""XCClaw's WebSocket, which sends every change of a task."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.api import websockets
from gateway.api.compat.xcclaw.wire import DIALECT, HOME, LABEL, XCClawTask, shown
from gateway.api.routing import Call, Routes
from gateway.domain.event import Change
from gateway.domain.run import Status
from gateway.domain.token import Scope
from gateway.engine.engine import Engine
from gateway.errors import RunNotFound

ROUTES = Routes("xcclaw", dialect=DIALECT)


class Ticketed(Struct, frozen=True, kw_only=True):
    ticket: websockets.Ticket = None


@ROUTES.add("GET", f"{HOME}/ws", scope=Scope.READ, query=Ticketed, status=101, socket=True)
async def xcclaw_socket(call: Call[Any, Ticketed]) -> web.StreamResponse:
    """Follow every change of a task over a WebSocket."""
    return await websockets.serve(call, _updates(call.engine, await call.engine.changes(None)))


async def _updates(engine: Engine, changes: AsyncIterator[Change]) -> AsyncGenerator[bytes, None]:
    async for change in changes:
        task = await _changed(engine, change)
        if task is not None:
            yield msgspec.json.encode({"type": "task_update", "task": task})


async def _changed(engine: Engine, change: Change) -> XCClawTask | None:
    """Return the task that a change is about, with the status of the change; None if it is not about one."""
    if change.topic != "run":
        return None
    try:
        run = await engine.run(change.ref)
    except RunNotFound:
        return None
    if LABEL not in run.spec.labels:
        return None
    status = Status(change.state)
    if not status.final:
        run = msgspec.structs.replace(run, result=None, error=None, finished=None)
    return shown(msgspec.structs.replace(run, status=status))
