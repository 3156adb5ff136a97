"""Named tokens, one for each script, device or person, and browsers that signed in; each can be revoked."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct

from gateway.api import views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.ids import SLUG_PATTERN
from gateway.domain.token import Scope, Token

ROUTES = Routes("tokens")


class NewToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: name of the new token, by which it is listed and revoked
    name: Annotated[str, Meta(pattern=SLUG_PATTERN)]
    scope: Scope = Scope.WRITE
    #: days until it expires; it never does when left out
    days: Annotated[float, Meta(gt=0, le=36_500)] | None = None


class TokenShown(Struct, frozen=True, kw_only=True):
    #: its name
    name: str
    scope: str
    created_at: str
    expires_at: str | None
    #: what signed in, such as `Firefox on Linux`; null for a token
    browser: str | None
    #: name of the token that the browser signed in with; null for a token
    signed_in_with: str | None
    #: when the browser sent its last request; null for a token
    last_used: str | None


class TokenMade(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    #: the secret; it is shown only once
    token: str
    #: its name
    name: str
    scope: str


class TokenList(Struct, frozen=True, kw_only=True):
    #: by name; their secrets are not stored
    tokens: list[TokenShown]


class Revoked(Struct, frozen=True):
    status: str = "ok"


@ROUTES.add("GET", "/api/tokens", scope=Scope.ADMIN, answer=TokenList)
async def list_tokens(call: Call[Nothing, Nothing]) -> TokenList:
    """List the named tokens and the browsers that are signed in, without their secrets."""
    tokens = call.engine.tokens
    return TokenList(tokens=[_render_token(one, tokens.find_holder(one)) for one in await tokens.list_tokens()])


@ROUTES.add("POST", "/api/tokens", scope=Scope.ADMIN, body=NewToken, answer=TokenMade, status=201)
async def create_token(call: Call[NewToken, Nothing]) -> TokenMade:
    """Make a named token; only this answer has its secret."""
    wanted = call.body
    expires = None if wanted.days is None else call.server.clock() + round(wanted.days * 86_400_000)
    # Shielded: if the client disconnects, this process must still learn of the token on disk.
    secret = await asyncio.shield(
        call.engine.tokens.create_token(wanted.name, wanted.scope, expires, call.read_idempotency_key())
    )
    return TokenMade(token=secret, name=wanted.name, scope=wanted.scope)


@ROUTES.add("DELETE", "/api/tokens/{name}", scope=Scope.ADMIN, answer=Revoked)
async def revoke_token(call: Call[Nothing, Nothing]) -> Revoked:
    """Revoke a token, with the browsers that signed in with it, or one browser; their open streams end at once."""
    # Shielded: if the client disconnects, a token that is revoked on disk must also be revoked in this process.
    await asyncio.shield(call.engine.tokens.revoke_token(call.path["name"]))
    return Revoked()


def _render_token(token: Token, holder: str | None) -> TokenShown:
    return TokenShown(
        name=token.name,
        scope=token.scope,
        created_at=times.format_rfc3339(token.created),
        expires_at=views.render_time(token.expires),
        browser=token.browser,
        signed_in_with=holder,
        last_used=views.render_time(token.last_used),
    )
