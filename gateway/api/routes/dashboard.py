"""Signing browsers in: a one-time code or a token is traded for a cookie."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from gateway.api import browser_cookie
from gateway.api.body import BodyLimit
from gateway.api.routing import Call, Nothing, Routes, ServerContext
from gateway.api.user_agent import describe_browser
from gateway.domain import times
from gateway.domain.actor import CURRENT_ACTOR, Actor, ActorKind
from gateway.domain.token import Scope
from gateway.engine.resources.principal import Principal
from gateway.engine.resources.sign_ins import SignedIn
from gateway.errors import InvalidRequest, Unauthorized

ROUTES = Routes("dashboard")

#: bytes of a body with a code or a token
MAX_SIGN_IN_BYTES = 8192

_Secret = Annotated[str, Meta(max_length=1024)]


class CodeMade(Struct, frozen=True, kw_only=True):
    #: signs one browser in, in the fragment of the address of the dashboard: `#code=…`
    code: str
    expires_at: str


class SignIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the two."""

    #: made by `POST /api/dashboard/codes`
    code: _Secret | None = None
    #: a token, typed in by a person
    token: _Secret | None = None


class SignInDone(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    #: name of the token that the browser signed in with
    name: str
    scope: str


class SignedOut(Struct, frozen=True):
    status: str = "ok"


@ROUTES.add("POST", "/api/dashboard/codes", scope=Scope.READ, answer=CodeMade, status=201)
async def create_code(call: Call[Nothing, Nothing]) -> CodeMade:
    """Make a code: it signs one browser in within 60 seconds, with the scope of the token that asks."""
    code, expires = await call.engine.tokens.issue_code(call.principal, call.read_idempotency_key())
    return CodeMade(code=code, expires_at=times.format_rfc3339(expires))


def limit_sign_in_body(request: web.Request, server: ServerContext) -> BodyLimit:
    """Return the limit of a body that someone without a token sends."""
    return BodyLimit(min(MAX_SIGN_IN_BYTES, server.config.limits.body), None)


@ROUTES.add("POST", "/api/dashboard/sign-in", scope=None, body=SignIn, answer=SignInDone, body_limit=limit_sign_in_body)
async def sign_in(call: Call[SignIn, Nothing]) -> SignInDone:
    """Sign a browser in: the answer sets a cookie. Needs the header X-Moongate-Dashboard: 1."""
    browser_cookie.check_own_page(call.request, call.server.config.public_url)
    tokens = call.engine.tokens
    caller = tokens.anonymous_principal
    if caller is None:
        caller = await _identify(call)
        actor = CURRENT_ACTOR.get()
        CURRENT_ACTOR.set(Actor(kind=ActorKind.BROWSER, name=caller.name, address=actor.address))
        browser = describe_browser(call.request.headers.get("User-Agent", ""))
        # Shielded: if the browser disconnects, this process must still learn of what is on disk.
        secret, expires = await asyncio.shield(tokens.sign_in(caller, browser, _find_present(call)))
        _set_cookie(call, secret, (expires - call.server.clock()) / 1000)
    return SignInDone(name=caller.name, scope=caller.scope)


@ROUTES.add("POST", "/api/dashboard/sign-out", scope=Scope.READ, answer=SignedOut)
async def sign_out(call: Call[Nothing, Nothing]) -> SignedOut:
    """Sign the browser out that asks: its cookie is good for nothing any more."""
    call.read_idempotency_key()  # signing out twice is fine; a malformed key is refused as everywhere
    if isinstance(call.principal, SignedIn):
        await asyncio.shield(call.engine.tokens.sign_out(call.principal))
    _set_cookie(call, "", 0)
    return SignedOut()


async def _identify(call: Call[SignIn, Nothing]) -> Principal:
    """Return the caller that the code or the token stands for.

    Raises:
        InvalidRequest: there is neither of them, or both.
        Unauthorized: it is wrong.
    """
    code, token, tokens = call.body.code, call.body.token, call.engine.tokens
    if (code is None) == (token is None):
        raise InvalidRequest("send either code or token.")
    if code is not None:
        found = await tokens.redeem_code(code)
        if found is None:
            raise Unauthorized(
                "the code is wrong, or it was used, or it is older than a minute.",
                remedy="Make another one: gateway dashboard",
            )
        return found
    found = tokens.authenticate_token((token or "").strip().encode("utf-8", "surrogateescape"))
    if found is None:
        raise Unauthorized(
            "the token is wrong.", remedy="On the gateway's machine, gateway config token prints the right one."
        )
    return found


def _find_present(call: Call[Any, Any]) -> SignedIn | None:
    """Return what the browser is signed in as, by its cookie."""
    found = map(call.engine.tokens.authenticate_cookie, browser_cookie.read_secrets(call.request))
    return next(filter(None, found), None)


def _set_cookie(call: Call[Any, Any], secret: str, seconds: float) -> None:
    networks = call.server.config.trusted_networks
    call.headers["Set-Cookie"] = browser_cookie.build_cookie(call.request, secret, seconds, networks)
