"""Named tokens, one for each script, device or person, and browsers that signed in; each can be revoked."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct

from gateway.api import fields, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.ids import SLUG_PATTERN
from gateway.domain.reach import Reach
from gateway.domain.session import MAX_CHAT_CHARACTERS
from gateway.domain.token import OWN_TOKEN, Scope, Token, TokenUse
from gateway.errors import InvalidRequest
from gateway.security.unsafe_text import name_pattern

ROUTES = Routes("tokens")

#: agents, or sessions, that one token may be limited to
MAX_REACHED_NAMES = 100

_SessionPattern = Annotated[str, Meta(pattern=name_pattern(2 * 65 + MAX_CHAT_CHARACTERS))]


class NewToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: name of the new token, by which it is listed and revoked
    name: Annotated[str, Meta(pattern=SLUG_PATTERN)]
    scope: Scope = Scope.WRITE
    #: days until it expires; it never does when left out
    days: Annotated[float, Meta(gt=0, le=36_500)] | None = None
    #: ids or slugs of the agents that it is limited to; it reaches all agents when left out
    agents: Annotated[list[fields.AgentName], Meta(min_length=1, max_length=MAX_REACHED_NAMES)] | None = None
    #: keys of the sessions that it is limited to, such as `main:api:alice`, or their beginnings and an asterisk, such
    #: as `main:api:alice-*`; it reaches all sessions when left out
    sessions: Annotated[list[_SessionPattern], Meta(min_length=1, max_length=MAX_REACHED_NAMES)] | None = None


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
    #: when it sent its last request; null if it never did
    last_used: str | None
    #: where that came from; null if it never did
    last_address: str | None
    #: what sent the last request, such as `Firefox on Linux`; null if it never sent one
    last_client: str | None
    #: slugs or ids of the agents that it is limited to; null if it reaches all
    agents: list[str] | None
    #: keys of the sessions that it is limited to, or their beginnings and an asterisk; null if it reaches all
    sessions: list[str] | None


class OwnTokenUse(Struct, frozen=True, kw_only=True):
    """The last use of the gateway's own token. All three are null if it was never used."""

    #: when it sent its last request
    last_used: str | None
    #: where that came from
    last_address: str | None
    #: what sent it
    last_client: str | None


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
    #: the gateway's own token
    own: OwnTokenUse


class Revoked(Struct, frozen=True):
    status: str = "ok"


@ROUTES.add("GET", "/api/tokens", scope=Scope.ADMIN, answer=TokenList)
async def list_tokens(call: Call[Nothing, Nothing]) -> TokenList:
    """List the named tokens and the browsers that are signed in, without their secrets."""
    listed, uses = await call.engine.tokens.list_tokens(), await call.engine.tokens.uses.list_uses()
    own = uses.get(OWN_TOKEN)
    return TokenList(
        tokens=[_render_token(call, one, uses.get(one.hash)) for one in listed],
        own=OwnTokenUse(
            last_used=None if own is None else times.format_rfc3339(own.at),
            last_address=None if own is None else own.address,
            last_client=None if own is None else own.client,
        ),
    )


@ROUTES.add("POST", "/api/tokens", scope=Scope.ADMIN, body=NewToken, answer=TokenMade, status=201)
async def create_token(call: Call[NewToken, Nothing]) -> TokenMade:
    """Make a named token; only this answer has its secret."""
    wanted = call.body
    reach = _read_reach(call)
    expires = None if wanted.days is None else call.server.clock() + round(wanted.days * 86_400_000)
    # Shielded: if the client disconnects, this process must still learn of the token on disk.
    secret = await asyncio.shield(
        call.engine.tokens.create_token(wanted.name, wanted.scope, expires, call.read_idempotency_key(), reach)
    )
    return TokenMade(token=secret, name=wanted.name, scope=wanted.scope)


@ROUTES.add("DELETE", "/api/tokens/{name}", scope=Scope.ADMIN, answer=Revoked)
async def revoke_token(call: Call[Nothing, Nothing]) -> Revoked:
    """Revoke a token, with the browsers that signed in with it, or one browser; their open streams end at once."""
    # Shielded: if the client disconnects, a token that is revoked on disk must also be revoked in this process.
    await asyncio.shield(call.engine.tokens.revoke_token(call.path["name"]))
    return Revoked()


def _read_reach(call: Call[NewToken, Nothing]) -> Reach | None:
    """Return what a new token is limited to.

    Raises:
        AgentNotFound: there is no such agent.
        InvalidRequest: a session's agent does not exist or is outside, or an admin is to be limited.
    """
    wanted, agents = call.body, call.engine.agents
    if wanted.agents is None and wanted.sessions is None:
        return None
    if wanted.scope is Scope.ADMIN:
        raise InvalidRequest(
            "agents, sessions: a token with the scope admin has no limits.", remedy="Choose the scope read or write."
        )
    for pattern in wanted.sessions or ():
        agent_id, colon, _ = pattern.partition(":")
        if not colon or agents.find_by_id(agent_id) is None:
            raise InvalidRequest(
                f"sessions: {pattern[:200]!r} does not begin with the id of an agent and a colon.",
                remedy="gateway sessions list shows the keys of sessions.",
            )
    reached = None if wanted.agents is None else tuple(agents.get_by_name(name).id for name in wanted.agents)
    for pattern in wanted.sessions or ():
        if reached is not None and pattern.partition(":")[0] not in reached:
            raise InvalidRequest(
                f"sessions: {pattern[:200]!r} is of an agent that agents does not name: the token would not reach it.",
                remedy="Name its agent, too, or leave agents out.",
            )
    return Reach(
        agents=reached,
        sessions=None if wanted.sessions is None else tuple(wanted.sessions),
    )


def _render_token(call: Call[Nothing, Nothing], token: Token, use: TokenUse | None) -> TokenShown:
    used = max(filter(None, (token.last_used, None if use is None else use.at)), default=None)
    return TokenShown(
        name=token.name,
        scope=token.scope,
        created_at=times.format_rfc3339(token.created),
        expires_at=views.render_time(token.expires),
        browser=token.browser,
        signed_in_with=call.engine.tokens.find_holder(token),
        last_used=views.render_time(used),
        last_address=None if use is None else use.address,
        last_client=token.browser if use is None else use.client,
        agents=None if token.agents is None else [call.engine.agents.display_name(one) for one in token.agents],
        sessions=None if token.sessions is None else list(token.sessions),
    )
