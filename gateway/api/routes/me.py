"""Who the caller is."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gateway.api import views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.reach import Reach
from gateway.domain.token import Scope
from gateway.engine.resources.sign_ins import SignedIn

ROUTES = Routes("me")


class Me(Struct, frozen=True, kw_only=True):
    #: name of the caller's token
    name: str
    scope: str
    #: when the token expires, or the browser is signed out unless it is used; null is never
    expires_at: str | None
    #: how the caller is known; `none` where the gateway needs no token
    signed_in: Literal["none", "token", "cookie"]
    #: whether the gateway is a member of a fleet, which `GET /api/fleet` shows
    in_fleet: bool
    #: slugs or ids of the agents that the token is limited to; null if it reaches all
    agents: list[str] | None
    #: keys of the sessions that it is limited to, or their beginnings and an asterisk; null if it reaches all
    sessions: list[str] | None


@ROUTES.add("GET", "/api/me", scope=Scope.READ, answer=Me)
async def show_me(call: Call[Nothing, Nothing]) -> Me:
    """Tell who asks, and what they may do."""
    caller = call.principal
    reach = caller.reach or Reach()
    is_open = call.engine.tokens.anonymous_principal is not None
    return Me(
        name=caller.name,
        scope=caller.scope,
        expires_at=views.render_time(caller.expires),
        signed_in="none" if is_open else "cookie" if isinstance(caller, SignedIn) else "token",
        in_fleet=call.engine.is_in_fleet,
        agents=None if reach.agents is None else [call.engine.agents.display_name(one) for one in reach.agents],
        sessions=None if reach.sessions is None else list(reach.sessions),
    )
