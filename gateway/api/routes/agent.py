"""Ask an agent and get its answer: `POST /api/agent`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct, field

from gateway.api import fields, sse, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.ids import MODEL
from gateway.domain.run import Run, RunSpec, Source
from gateway.domain.token import Scope
from gateway.errors import Unavailable

ROUTES = Routes("agent")

#: the channel in the keys of sessions that are named here
CHANNEL = "api"


class Ask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message for an agent."""

    message: fields.Prompt
    #: name of the session, or its full key
    session: fields.SessionName = "default"
    agent_id: fields.AgentName | None = field(default=None, name="agentId")
    model: Annotated[str, Meta(pattern=MODEL)] | None = None
    #: seconds that the run may take
    timeout: fields.Seconds | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """The agent's answer."""

    status: str = "ok"
    reply: str
    #: the name that was sent
    session: str
    run_id: str
    usage: views.UsageShown


@ROUTES.add("POST", "/api/agent", scope=Scope.WRITE, body=Ask, answer=Answer, streams=True)
async def ask(call: Call[Ask, Nothing]) -> Answer | web.StreamResponse:
    """Ask an agent and wait for its answer, or follow it as a stream of events."""
    after = sse.resume_point(call, None)
    key = call.engine.sessions.key(call.body.session, CHANNEL, call.body.agent_id)
    spec = RunSpec(
        source=Source.AGENT,
        agent=key.agent,
        session=str(key),
        input=call.body.message,
        model=call.body.model,
        timeout=call.body.timeout,
    )
    run = (await call.engine.submit(spec, call.idempotency())).run
    call.headers["X-Run-Id"] = run.id
    if call.wants_stream:
        # Like a JSON answer, the stream may go on while the gateway lets runs finish before it stops.
        why = Unavailable("the gateway is stopping; the run goes on when it is back.", details={"run_id": run.id})
        frames = _frames(call, run, after or 0)
        return await sse.stream(call, frames, until=call.engine.drained, farewell=sse.error_frame(why))
    ended = await call.engine.wait(run.id, call.server.config.limits.wait_seconds)
    return _answer(call, ended)


def _answer(call: Call[Ask, Nothing], run: Run) -> Answer:
    return Answer(reply=views.result(run), session=call.body.session, run_id=run.id, usage=views.usage(run.usage))


async def _frames(call: Call[Ask, Nothing], run: Run, after: int) -> AsyncGenerator[bytes, None]:
    """Yield the run's events, then `result` with the JSON answer, or `error`."""
    async with aclosing(call.engine.watch(run.id, after)) as events:
        async for event in events:
            yield sse.event_frame(event)
    yield sse.answer_frame(await call.engine.run(run.id), lambda ended: _answer(call, ended))
