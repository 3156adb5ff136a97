"""Ask an agent and get its answer: `POST /api/agent`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.api import fields, sse, views
from gateway.api.attachments import Attachments, WantsFiles, limit_body_with_files, receive_attachments
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.event import Notice
from gateway.domain.ids import MODEL_PATTERN
from gateway.domain.run import Run, RunSpec, Source
from gateway.domain.token import Scope

ROUTES = Routes("agent")

#: the channel in the keys of sessions that are named here
API_CHANNEL = "api"


class Ask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message for an agent."""

    message: fields.Prompt
    #: name of the session, or its full key
    session: fields.SessionName = "default"
    #: id or slug of the agent; the default agent when left out
    agent_id: fields.AgentName | None = field(default=None, name="agentId")
    model: Annotated[str, Meta(pattern=MODEL_PATTERN)] | None = None
    #: seconds that the run may take
    timeout: fields.Seconds | None = None
    attachments: Attachments | UnsetType = UNSET
    wants_files: WantsFiles | UnsetType = UNSET


class Answer(Struct, frozen=True, kw_only=True):
    """The agent's answer."""

    status: str = "ok"
    reply: str
    #: files that the agent made
    files: list[views.FileShown]
    #: why the reply ended: stop, or length or content_filter if it was cut; null for a run of an older version
    finish: str | None
    #: the name that was sent
    session: str
    run_id: str
    usage: views.UsageShown
    #: true if the agent had lost its conversation, began a new one, and was given the transcript
    session_restarted: bool | UnsetType = UNSET
    #: true if the oldest turns were left out, because the model could not read the whole conversation
    context_shortened: bool | UnsetType = UNSET


@ROUTES.add(
    "POST", "/api/agent", scope=Scope.WRITE, body=Ask, answer=Answer, streams=True, body_limit=limit_body_with_files
)
async def ask(call: Call[Ask, Nothing]) -> Answer | web.StreamResponse:
    """Ask an agent and wait for its answer, or follow it as a stream of events."""
    after = sse.read_resume_point(call, None)
    key = call.engine.sessions.resolve_key(call.body.session, API_CHANNEL, call.body.agent_id)
    async with receive_attachments(call, call.body.attachments) as given:
        spec = RunSpec(
            source=Source.AGENT,
            agent=key.agent,
            session=str(key),
            input=call.body.message,
            attachments=given.files,
            wants_files=call.body.wants_files is True,
            model=call.body.model,
            timeout=call.body.timeout,
        )
        run = (await call.engine.runs.submit_run(spec, call.read_idempotency_key(given.files), staged=given.staged)).run
    call.headers["X-Run-Id"] = run.id
    if call.wants_stream:
        # Like a JSON answer, the stream may go on while the gateway lets runs finish before it stops.
        frames = _stream_events_and_answer(call, run, after or 0)
        return await sse.send_stream(
            call, frames, until=call.engine.runs.drained, encode_end=sse.encode_error, run_id=run.id
        )
    ended = await call.wait_for_run(run.id, call.server.config.limits.wait_seconds)
    return _render_answer(call, ended)


def _render_answer(call: Call[Ask, Nothing], run: Run) -> Answer:
    return Answer(
        reply=views.result_or_raise(run),
        files=views.render_files(run.files),
        finish=run.finish,
        session=call.body.session,
        run_id=run.id,
        usage=views.render_usage(run),
        session_restarted=views.tell_notice(run, Notice.SESSION_RESTARTED),
        context_shortened=views.tell_notice(run, Notice.CONTEXT_SHORTENED),
    )


async def _stream_events_and_answer(call: Call[Ask, Nothing], run: Run, after: int) -> AsyncGenerator[bytes, None]:
    """Yield the run's events, then `result` with the JSON answer, or `error`."""
    async with aclosing(call.engine.runs.watch_run(run.id, after)) as events:
        async for event in events:
            yield sse.encode_event(event)
    yield sse.encode_answer(await call.engine.runs.get_run(run.id), lambda ended: _render_answer(call, ended))
