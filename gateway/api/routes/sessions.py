"""Sessions: open, list, read, rename, delete."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct, field, structs

from gateway.api import fields, paging, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.session import SessionFilter
from gateway.domain.token import Scope

ROUTES = Routes("sessions")

#: the most messages in one answer
MAX_MESSAGES_PER_ANSWER = 1000


class Open(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which session to open; all fields are optional."""

    #: where the session comes from: any word
    channel: fields.ChannelName = "webchat"
    chat_id: fields.Chat | None = None
    #: id or slug of the agent; the default agent when left out
    agent_id: fields.AgentName | None = field(default=None, name="agentId")


class Renamed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a session is called."""

    #: stays, whatever is said in the session
    title: fields.SessionTitle


class WhichSessions(paging.Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sessions to list."""

    #: only sessions of this agent, by its id or slug
    agent: fields.AgentName | None = None
    #: only sessions whose messages come from here
    channel: fields.ChannelName | None = None
    #: only sessions that have this in their title or key
    q: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class Opened(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    session: views.SessionShown


class SessionList(Struct, frozen=True, kw_only=True):
    #: the last used one first
    sessions: list[views.SessionShown]
    #: send it as `cursor` to get the next page; null on the last page
    next_cursor: str | None


class SessionWithMessages(Struct, frozen=True, kw_only=True):
    """A session with its newest messages, oldest first."""

    session: views.SessionShown
    #: the newest ones, oldest first
    messages: list[views.MessageShown]
    #: send it as `cursor` to get the messages before these; null when there are none
    next_cursor: str | None


class History(Struct, frozen=True, kw_only=True):
    """A transcript: its newest messages, oldest first."""

    #: full key of the session
    session_key: str = field(name="sessionKey")
    #: the newest ones, oldest first
    messages: list[views.MessageShown]
    #: send it as `cursor` to get the messages before these; null when there are none
    next_cursor: str | None


class Ok(Struct, frozen=True):
    status: str = "ok"


class HowMany(paging.Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of the newest messages to show; a page with long messages has fewer."""

    limit: Annotated[int, Meta(ge=1, le=MAX_MESSAGES_PER_ANSWER)] = MAX_MESSAGES_PER_ANSWER
    #: `html` adds `html` to each message
    render: fields.Rendering | None = None


class Force(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: cancel the session's runs first
    force: bool = False


@ROUTES.add("POST", "/api/sessions", scope=Scope.WRITE, body=Open, answer=Opened)
async def open_session(call: Call[Open, Nothing]) -> Opened:
    """Open a session: the one of the chat, else the newest empty one, else a new one."""
    wanted = call.body
    found = await call.engine.sessions.open_session(
        wanted.channel, wanted.chat_id, wanted.agent_id, call.read_idempotency_key()
    )
    return Opened(session=views.render_session(found))


@ROUTES.add("GET", "/api/sessions", scope=Scope.READ, query=WhichSessions, answer=SessionList)
async def list_sessions(call: Call[Nothing, WhichSessions]) -> SessionList:
    """List sessions, the last used one first."""
    asked = call.query
    named = None if asked.agent is None else call.engine.agents.find_by_name(asked.agent)
    agent = asked.agent if named is None else named.id  # sessions of a removed agent can still be found
    which = SessionFilter(agent=agent, channel=asked.channel, words=asked.q)
    found = await call.engine.sessions.list_sessions(paging.page_to_fetch(asked), which)
    shown, cursor = paging.render_page(call.query, found, lambda session: session.last_use_order, views.render_session)
    return SessionList(sessions=shown, next_cursor=cursor)


@ROUTES.add("GET", "/api/sessions/{key}", scope=Scope.READ, query=HowMany, answer=SessionWithMessages)
async def show_session(call: Call[Nothing, HowMany]) -> SessionWithMessages:
    """Show a session with its messages."""
    found = await call.engine.sessions.get_session(call.path["key"])
    messages, cursor = await _read_page(call, found.key)
    return SessionWithMessages(session=views.render_session(found), messages=messages, next_cursor=cursor)


@ROUTES.add("GET", "/api/sessions/{key}/history", scope=Scope.READ, query=HowMany, answer=History)
async def history(call: Call[Nothing, HowMany]) -> History:
    """Show a session's messages, oldest first."""
    found = await call.engine.sessions.get_session(call.path["key"])
    messages, cursor = await _read_page(call, found.key)
    return History(session_key=call.path["key"], messages=messages, next_cursor=cursor)


async def _read_page(call: Call[Nothing, HowMany], key: str) -> tuple[list[views.MessageShown], str | None]:
    """Return the asked part of a transcript, oldest message first, and the cursor of the part before it."""
    found = await call.engine.sessions.read_history(key, paging.page_to_fetch(call.query))
    newest_first, cursor = paging.render_page(
        call.query, found[::-1], lambda message: message.number, views.render_message
    )
    if call.query.render is not None:
        made = await call.server.rendered_texts.render_texts([one.content for one in newest_first])
        newest_first = [structs.replace(one, html=html) for one, html in zip(newest_first, made, strict=True)]
    return newest_first[::-1], cursor


@ROUTES.add("PATCH", "/api/sessions/{key}", scope=Scope.WRITE, body=Renamed, answer=Opened)
async def rename_session(call: Call[Renamed, Nothing]) -> Opened:
    """Give a session a title, which stays whatever is said in it."""
    return Opened(
        session=views.render_session(await call.engine.sessions.rename_session(call.path["key"], call.body.title))
    )


@ROUTES.add("DELETE", "/api/sessions/{key}", scope=Scope.WRITE, query=Force, answer=Ok)
async def delete_session(call: Call[Nothing, Force]) -> Ok:
    """Delete a session with its transcript."""
    found = await call.engine.sessions.get_session(call.path["key"])
    # Shielded: a client that disconnects must not leave runs at work in a session that is gone.
    await asyncio.shield(call.engine.sessions.delete_session(found.key, force=call.query.force))
    return Ok()
