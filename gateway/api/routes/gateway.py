"""Restart and stop the gateway: for a dashboard, and for Windows, which has no signals."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.audit import AuditAction
from gateway.domain.token import Scope
from gateway.errors import Conflict, Unavailable

ROUTES = Routes("gateway")


class Why(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: the reason that the log shows
    reason: Annotated[str, Meta(max_length=200)] = "asked over HTTP"


class Begun(Struct, frozen=True, kw_only=True):
    """The restart or stop has begun; after a restart, `/health` shows a higher generation."""

    status: str = "ok"
    #: number of the serving process that gives this answer
    generation: int


@ROUTES.add("POST", "/api/gateway/restart", scope=Scope.ADMIN, body=Why, answer=Begun, status=202)
async def restart_gateway(call: Call[Why, Nothing]) -> Begun:
    """Begin a restart; this serving process answers until the next one is ready."""
    control = call.server.control
    if control.restart is None:
        raise Unavailable("this gateway runs without a supervisor.", remedy="Stop it, and start it again.")
    await call.engine.audit.add(AuditAction.RESTART_ASKED, reason=call.body.reason)
    control.restart(call.body.reason)
    return Begun(generation=call.server.generation)


@ROUTES.add("POST", "/api/gateway/stop", scope=Scope.ADMIN, body=Why, answer=Begun, status=202)
async def stop_gateway(call: Call[Why, Nothing]) -> Begun:
    """Begin to stop; running runs get the usual grace period. A request from a run's own agent is refused."""
    if call.nesting_depth > 0:
        raise Conflict(
            "this comes from a task of the gateway itself, which would be interrupted and tried again.",
            remedy="A person can stop it: gateway stop",
        )
    await call.engine.audit.add(AuditAction.STOP_ASKED, reason=call.body.reason)
    call.server.control.stop()
    return Begun(generation=call.server.generation)
