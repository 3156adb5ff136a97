"""XCClaw's persistent sessions, which have a name."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway.api import views
from gateway.api.compat.xcclaw.wire import CHANNEL, DIALECT, HOME, TaskType, parsed, run_spec
from gateway.api.routing import Call, Routes, Unheeded
from gateway.domain import times
from gateway.domain.run import Run
from gateway.domain.token import Scope
from gateway.engine.resources.named_sessions import Named
from gateway.errors import InvalidRequest

ROUTES = Routes("xcclaw", dialect=DIALECT)


class NameGiven(Struct, frozen=True, kw_only=True):
    """The name of a session, in the query or in the body."""

    name: Annotated[str, Meta(max_length=200)] | None = None


class PersistentSession(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    created_at: str


class SessionDeleted(Struct, frozen=True, kw_only=True):
    deleted: str


class TextGiven(Struct, frozen=True, kw_only=True):
    """The text for the agent, in the query or in the body."""

    text: str | None = None


class SessionReply(Struct, frozen=True, kw_only=True):
    session_id: str
    reply: str


class SessionTask(Struct, frozen=True, kw_only=True):
    session_id: str
    task_id: str


@ROUTES.add("POST", f"{HOME}/persistent", scope=Scope.WRITE, body=NameGiven, query=NameGiven, answer=PersistentSession)
async def create_persistent_session(call: Call[NameGiven, NameGiven]) -> PersistentSession:
    """Make a session with a name, which is in the query or in the body."""
    name = call.query.name or call.body.name
    if not name:
        raise InvalidRequest("name: send a name for the session, in the query or in the body.")
    return _persistent(await call.engine.named.create(CHANNEL, name, call.idempotency()))


@ROUTES.add("GET", f"{HOME}/persistent", scope=Scope.READ, query=Unheeded, answer=list[PersistentSession])
async def list_persistent_sessions(call: Call[Any, Unheeded]) -> list[PersistentSession]:
    """List the sessions that have a name, oldest first."""
    return [_persistent(found) for found in await call.engine.named.list(CHANNEL)]


@ROUTES.add(
    "DELETE", f"{HOME}/persistent/{{id}}", scope=Scope.WRITE, body=Unheeded, query=Unheeded, answer=SessionDeleted
)
async def delete_persistent_session(call: Call[Any, Unheeded]) -> SessionDeleted:
    """Delete a session and abort its running tasks."""
    await asyncio.shield(call.engine.named.delete(CHANNEL, call.path["id"]))
    return SessionDeleted(deleted=call.path["id"])


@ROUTES.add(
    "POST",
    f"{HOME}/persistent/{{id}}/message",
    scope=Scope.WRITE,
    body=TextGiven,
    query=TextGiven,
    answer=SessionReply,
)
async def tell_persistent_session(call: Call[TextGiven, TextGiven]) -> SessionReply:
    """Send a text in a session and wait for the reply."""
    named, run = await _tell(call)
    ended = await call.engine.wait(run.id, call.server.config.limits.wait_seconds)
    return SessionReply(session_id=named.id, reply=views.result(ended))


@ROUTES.add(
    "POST",
    f"{HOME}/persistent/{{id}}/message_async",
    scope=Scope.WRITE,
    body=TextGiven,
    query=TextGiven,
    answer=SessionTask,
    status=202,
)
async def tell_persistent_session_async(call: Call[TextGiven, TextGiven]) -> SessionTask:
    """Send a text in a session; the task will have the reply."""
    named, run = await _tell(call)
    return SessionTask(session_id=named.id, task_id=run.id)


async def _tell(call: Call[TextGiven, TextGiven]) -> tuple[Named, Run]:
    text = call.query.text or call.body.text
    if not text:
        raise InvalidRequest("text: send a text, in the query or in the body.")
    named = await call.engine.named.find(CHANNEL, call.path["id"])
    spec = run_spec(parsed(named.key), TaskType.PERSISTENT, text)
    run = (await call.engine.submit(spec, call.idempotency())).run
    call.headers["X-Run-Id"] = run.id
    return named, run


def _persistent(of: Named) -> PersistentSession:
    return PersistentSession(id=of.id, name=of.name, created_at=times.rfc3339(of.created))
