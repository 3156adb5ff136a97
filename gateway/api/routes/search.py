"""Search all transcripts: `GET /api/search`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.api import fields, paging
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import search, times
from gateway.domain.token import Scope

ROUTES = Routes("search")


class Query(paging.Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to look for."""

    #: words that a message must have; `"a phrase"`, `-without`, `begin*`
    q: Annotated[str, Meta(min_length=1, max_length=search.MAX_QUERY_CHARACTERS)]
    #: key of a session, or its name
    session: fields.SessionName | None = None
    #: id or slug of an agent
    agent: fields.AgentName | None = None


class FoundShown(Struct, frozen=True, kw_only=True):
    """A message that was found."""

    #: key of its session
    session: str
    #: id of the agent of that session
    agent_id: str = field(name="agentId")
    #: user or assistant
    role: str
    at: str
    run_id: str
    #: the part of the message that matches
    snippet: str
    #: the words that matched, as they are written in the message
    matches: list[str]


class FoundList(Struct, frozen=True, kw_only=True):
    results: list[FoundShown]
    #: send it as `cursor` to get the next page; null on the last page
    next_cursor: str | None


@ROUTES.add("GET", "/api/search", scope=Scope.READ, query=Query, answer=FoundList)
async def search_transcripts(call: Call[Nothing, Query]) -> FoundList:
    """Search what people and agents said, newest first."""
    asked = call.query
    terms = search.parse_terms(asked.q)
    session = None if asked.session is None else (await call.engine.sessions.get_session(asked.session)).key
    named = None if asked.agent is None else call.engine.agents.find_by_name(asked.agent)
    agent = asked.agent if named is None else named.id  # messages of a removed agent can still be found
    query = search.SearchQuery(terms=terms, session=session, agent=agent)
    found = await call.engine.sessions.search_messages(query, paging.page_to_fetch(asked))
    results, cursor = paging.render_page(asked, found, lambda one: one.position, _render_match)
    return FoundList(results=results, next_cursor=cursor)


def _render_match(one: search.SearchHit) -> FoundShown:
    return FoundShown(
        session=one.session,
        agent_id=one.agent,
        role=one.role,
        at=times.format_rfc3339(one.at),
        run_id=one.run,
        snippet=one.snippet,
        matches=list(one.matches),
    )
