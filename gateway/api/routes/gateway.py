"""The gateway itself: restart and stop it from a dashboard, or where there are no signals."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.token import Scope
from gateway.errors import Unavailable

ROUTES = Routes("gateway")


class Why(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: what the log says about why
    reason: Annotated[str, Meta(max_length=200)] = "asked over HTTP"


class Begun(Struct, frozen=True, kw_only=True):
    """It has begun; `/health` shows the next generation when it is done."""

    status: str = "ok"
    #: number of the serving process that answers this
    generation: int


@ROUTES.add("POST", "/api/gateway/restart", scope=Scope.ADMIN, body=Why, answer=Begun, status=202)
async def restart_gateway(call: Call[Why, Nothing]) -> Begun:
    """Begin a restart: the present serving process answers until the next one is ready."""
    control = call.server.control
    if control.restart is None:
        raise Unavailable("this gateway runs without a supervisor.", remedy="Stop it, and start it again.")
    control.restart(call.body.reason)
    return Begun(generation=call.server.generation)


@ROUTES.add("POST", "/api/gateway/stop", scope=Scope.ADMIN, body=Why, answer=Begun, status=202)
async def stop_gateway(call: Call[Why, Nothing]) -> Begun:
    """Begin to stop: what is under way gets the usual grace."""
    call.server.control.stop()
    return Begun(generation=call.server.generation)
