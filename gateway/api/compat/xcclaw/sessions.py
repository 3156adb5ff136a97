"""XCClaw's persistent sessions, which have a name."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway.api import fields, views
from gateway.api.compat.xcclaw.wire import (
    XCCLAW_CHANNEL,
    XCCLAW_DIALECT,
    XCCLAW_PATH,
    TaskType,
    build_run_spec,
    parse_session_key,
)
from gateway.api.routing import Call, Routes, Unheeded
from gateway.domain import times
from gateway.domain.run import Run
from gateway.domain.token import Scope
from gateway.engine.resources.named_sessions import NamedSession
from gateway.errors import InvalidRequest

ROUTES = Routes("xcclaw", dialect=XCCLAW_DIALECT)


class NameGiven(Struct, frozen=True, kw_only=True):
    """The name of a session, in the query or in the body."""

    #: the name that people see
    name: Annotated[str, Meta(max_length=200, pattern=fields.SHOWN_NAME_PATTERN)] | None = None


class PersistentSession(Struct, frozen=True, kw_only=True):
    #: id of the session
    id: str
    #: the name that people see
    name: str
    created_at: str


class SessionDeleted(Struct, frozen=True, kw_only=True):
    #: id of the session
    deleted: str


class TextGiven(Struct, frozen=True, kw_only=True):
    """The text for the agent, in the query or in the body."""

    #: the message
    text: str | None = None


class SessionReply(Struct, frozen=True, kw_only=True):
    #: id of the session
    session_id: str
    reply: str


class SessionTask(Struct, frozen=True, kw_only=True):
    #: id of the session
    session_id: str
    #: id of the task that answers
    task_id: str


@ROUTES.add(
    "POST", f"{XCCLAW_PATH}/persistent", scope=Scope.WRITE, body=NameGiven, query=NameGiven, answer=PersistentSession
)
async def create_persistent_session(call: Call[NameGiven, NameGiven]) -> PersistentSession:
    """Make a session with a name, which is in the query or in the body."""
    name = call.query.name or call.body.name
    if not name:
        raise InvalidRequest("name: send a name for the session, in the query or in the body.")
    return _render_persistent_session(
        await call.engine.named_sessions.create_session(XCCLAW_CHANNEL, name, call.read_idempotency_key())
    )


@ROUTES.add("GET", f"{XCCLAW_PATH}/persistent", scope=Scope.READ, query=Unheeded, answer=list[PersistentSession])
async def list_persistent_sessions(call: Call[Any, Unheeded]) -> list[PersistentSession]:
    """List the sessions that have a name, oldest first."""
    return [
        _render_persistent_session(found) for found in await call.engine.named_sessions.list_sessions(XCCLAW_CHANNEL)
    ]


@ROUTES.add(
    "DELETE",
    f"{XCCLAW_PATH}/persistent/{{id}}",
    scope=Scope.WRITE,
    body=Unheeded,
    query=Unheeded,
    answer=SessionDeleted,
)
async def delete_persistent_session(call: Call[Any, Unheeded]) -> SessionDeleted:
    """Delete a session and abort its running tasks."""
    await asyncio.shield(call.engine.named_sessions.delete_session(XCCLAW_CHANNEL, call.path["id"]))
    return SessionDeleted(deleted=call.path["id"])


@ROUTES.add(
    "POST",
    f"{XCCLAW_PATH}/persistent/{{id}}/message",
    scope=Scope.WRITE,
    body=TextGiven,
    query=TextGiven,
    answer=SessionReply,
)
async def tell_persistent_session(call: Call[TextGiven, TextGiven]) -> SessionReply:
    """Send a text in a session and wait for the reply."""
    named, run = await _submit_text(call)
    ended = await call.wait_for_run(run.id, call.server.config.limits.wait_seconds)
    return SessionReply(session_id=named.id, reply=views.result_or_raise(ended))


@ROUTES.add(
    "POST",
    f"{XCCLAW_PATH}/persistent/{{id}}/message_async",
    scope=Scope.WRITE,
    body=TextGiven,
    query=TextGiven,
    answer=SessionTask,
    status=202,
)
async def tell_persistent_session_async(call: Call[TextGiven, TextGiven]) -> SessionTask:
    """Send a text in a session; the task will have the reply."""
    named, run = await _submit_text(call)
    return SessionTask(session_id=named.id, task_id=run.id)


async def _submit_text(call: Call[TextGiven, TextGiven]) -> tuple[NamedSession, Run]:
    text = call.query.text or call.body.text
    if not text:
        raise InvalidRequest("text: send a text, in the query or in the body.")
    named = await call.engine.named_sessions.get_session(XCCLAW_CHANNEL, call.path["id"])
    spec = build_run_spec(parse_session_key(named.key), TaskType.PERSISTENT, text)
    run = (await call.engine.runs.submit_run(spec, call.read_idempotency_key())).run
    call.headers["X-Run-Id"] = run.id
    return named, run


def _render_persistent_session(of: NamedSession) -> PersistentSession:
    return PersistentSession(id=of.id, name=of.name, created_at=times.format_rfc3339(of.created))
