"""Tickets: a browser opens a WebSocket with one, because it cannot send an Authorization header there."""

from __future__ import annotations

from msgspec import Struct

from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.token import Scope

ROUTES = Routes("tickets")


class TicketMade(Struct, frozen=True, kw_only=True):
    #: opens one WebSocket, as `?ticket=`
    ticket: str
    expires_at: str


@ROUTES.add("POST", "/api/tickets", scope=Scope.READ, answer=TicketMade, status=201)
async def create_ticket(call: Call[Nothing, Nothing]) -> TicketMade:
    """Make a ticket: it opens one WebSocket within 30 seconds, with the scope of the token that asks."""
    secret, expires = await call.engine.tokens.issue_ticket(call.principal, call.read_idempotency_key())
    return TicketMade(ticket=secret, expires_at=times.format_rfc3339(expires))
