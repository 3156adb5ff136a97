"""XCClaw's WebSocket, which sends every change of a task."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.api import websockets
from gateway.api.compat.xcclaw.wire import XCCLAW_DIALECT, XCCLAW_LABEL, XCCLAW_PATH, XCClawTask, render_xcclaw_task
from gateway.api.routing import Call, Routes
from gateway.domain.event import Change
from gateway.domain.run import Status
from gateway.domain.token import Scope
from gateway.engine.engine import Engine
from gateway.errors import RunNotFound

ROUTES = Routes("xcclaw", dialect=XCCLAW_DIALECT)


class Ticketed(Struct, frozen=True, kw_only=True):
    ticket: websockets.Ticket = None


@ROUTES.add("GET", f"{XCCLAW_PATH}/ws", scope=Scope.READ, query=Ticketed, status=101, socket=True)
async def xcclaw_socket(call: Call[Any, Ticketed]) -> web.StreamResponse:
    """Follow every change of a task over a WebSocket."""
    return await websockets.serve_websocket(
        call, _encode_task_updates(call.engine, await call.engine.runs.follow_changes(None))
    )


async def _encode_task_updates(engine: Engine, changes: AsyncIterator[Change]) -> AsyncGenerator[bytes, None]:
    async for change in changes:
        task = await _find_changed_task(engine, change)
        if task is not None:
            yield msgspec.json.encode({"type": "task_update", "task": task})


async def _find_changed_task(engine: Engine, change: Change) -> XCClawTask | None:
    """Return the task that a change is about, with the status of the change; None if it is not about one."""
    if change.topic != "run":
        return None
    try:
        run = await engine.runs.get_run(change.ref)
    except RunNotFound:
        return None
    if XCCLAW_LABEL not in run.spec.labels:
        return None
    status = Status(change.state)
    if not status.is_final:
        run = msgspec.structs.replace(run, result=None, error=None, finished=None)
    return render_xcclaw_task(msgspec.structs.replace(run, status=status))
