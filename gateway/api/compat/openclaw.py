"""OpenClaw's hooks: send a text to the main session, or run an agent in a session of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.api import fields, openclaw_callback, views
from gateway.api.attachments import Attachments, limit_body_with_files, receive_attachments
from gateway.api.body import BodyLimit
from gateway.api.routing import Call, Dialect, Routes, ServerContext, Unheeded
from gateway.domain import ids
from gateway.domain.delivery import CHAT_FORMAT, Target
from gateway.domain.ids import MODEL_PATTERN
from gateway.domain.run import Run, RunSpec, Source
from gateway.domain.session import SessionKey
from gateway.domain.token import Scope
from gateway.errors import GatewayError, InvalidRequest

#: the channel in the keys of sessions that are named here
HOOKS_CHANNEL = "hooks"
#: the session that `/hooks/wake` writes to
MAIN_SESSION = "main"
#: bytes that the body of a hook may have
MAX_HOOK_BYTES = 256 * 1024

#: bodies of deliveries by the name of their format
BODIES: Mapping[str, Callable[[Run], bytes]] = {openclaw_callback.CALLBACK_FORMAT: openclaw_callback.encode_callback}


class HookRefused(Struct, frozen=True, kw_only=True):
    """The body of every error here."""

    ok: bool = False
    error: str


def _render_hook_error(error: GatewayError) -> HookRefused:
    return HookRefused(error=str(error))


ROUTES = Routes(
    "hooks", dialect=Dialect(error_type=HookRefused, render_error=_render_hook_error, bearer_header="X-OpenClaw-Token")
)


class Wake(Struct, frozen=True, kw_only=True):
    """A text for the main session."""

    #: what the agent is told
    text: fields.Prompt
    #: both values start a run at once: there is no heartbeat to wait for
    mode: Literal["now", "next-heartbeat"] = "now"


class Woken(Struct, frozen=True, kw_only=True):
    #: always true: a failure has `false` and `error`
    ok: bool = True
    #: the mode that was sent
    mode: str
    #: `coalesced` when the same text is already queued there
    event_outcome: Literal["queued", "coalesced"] = field(name="eventOutcome")
    #: id of the run, which `GET /api/tasks/{id}` shows
    run_id: str = field(name="runId")


class AgentHook(Struct, frozen=True, kw_only=True):
    """A message for an agent, in a session of its own."""

    #: what the agent is told
    message: fields.Prompt
    #: the sender's name, kept as a label
    name: Annotated[str, Meta(max_length=256, pattern=fields.SHOWN_NAME_PATTERN)] | None = None
    #: id or slug; `main` is the default agent unless an agent has that name
    agent_id: fields.AgentName | None = field(default=None, name="agentId")
    #: a new session when left out
    session_key: fields.SessionName | None = field(default=None, name="sessionKey")
    #: whether to send the reply to the chat `to` of `channel`
    deliver: bool = False
    #: name of a configured channel, such as telegram
    channel: fields.ChannelName | None = None
    #: id of the chat in the channel
    to: fields.Chat | None = None
    model: Annotated[str, Meta(pattern=MODEL_PATTERN)] | None = None
    #: seconds that the run may take
    timeout_seconds: fields.Seconds | None = field(default=None, name="timeoutSeconds")
    #: whether to wait for the reply and answer with it
    wait_for_completion: bool = field(default=False, name="waitForCompletion")
    #: URL for the callback, instead of the one in the settings
    callback_url: str | None = field(default=None, name="callbackUrl")
    attachments: Attachments | UnsetType = UNSET


class AgentHooked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The run is on disk; with `waitForCompletion`, it has succeeded."""

    #: always true: a failure has `false` and `error`
    ok: Literal[True]
    #: id of the run, which `GET /api/tasks/{id}` shows
    run_id: str = field(name="runId")
    #: the key that was sent, or that of the new session
    session_key: str = field(name="sessionKey")
    reply: str | None = None


def limit_hook_body(request: web.Request, server: ServerContext) -> BodyLimit:
    """Return how long the body of a hook may be."""
    return BodyLimit(min(MAX_HOOK_BYTES, server.config.limits.body), None)


@ROUTES.add(
    "POST", "/hooks/wake", scope=Scope.WRITE, body=Wake, query=Unheeded, answer=Woken, body_limit=limit_hook_body
)
async def wake(call: Call[Wake, Unheeded]) -> Woken:
    """Send a text to the main session of the default agent."""
    agent = call.engine.agents.default_agent.id
    session = str(SessionKey.from_parts(agent, HOOKS_CHANNEL, MAIN_SESSION))
    spec = RunSpec(source=Source.HOOK, agent=agent, session=session, input=call.body.text)
    accepted = await call.engine.runs.submit_run(spec, call.read_idempotency_key(), coalesce=True)
    call.headers["X-Run-Id"] = accepted.run.id
    outcome: Literal["queued", "coalesced"] = "queued" if accepted.is_new else "coalesced"
    return Woken(mode=call.body.mode, event_outcome=outcome, run_id=accepted.run.id)


@ROUTES.add(
    "POST",
    "/hooks/agent",
    scope=Scope.WRITE,
    body=AgentHook,
    query=Unheeded,
    answer=AgentHooked,
    body_limit=limit_body_with_files,
)
async def run_agent_hook(call: Call[AgentHook, Unheeded]) -> AgentHooked:
    """Run an agent in a session; a callback reports its end."""
    wanted = call.body
    name = wanted.session_key or ids.make_ulid(call.server.clock()).lower()
    key = call.engine.sessions.resolve_key(name, HOOKS_CHANNEL, wanted.agent_id, field="sessionKey")
    max_text = limit_hook_body(call.request, call.server).max_bytes
    async with receive_attachments(call, wanted.attachments, max_text=max_text) as given:
        spec = RunSpec(
            source=Source.HOOK,
            agent=key.agent,
            session=str(key),
            input=wanted.message,
            attachments=given.files,
            model=wanted.model,
            timeout=wanted.timeout_seconds,
            deliver=openclaw_callback.choose_callback_targets(call.server, wanted.callback_url)
            + _read_reply_target(call),
            labels=_collect_labels(wanted),
        )
        run = (await call.engine.runs.submit_run(spec, call.read_idempotency_key(given.files), staged=given.staged)).run
    call.headers["X-Run-Id"] = run.id
    if not wanted.wait_for_completion:
        return AgentHooked(ok=True, run_id=run.id, session_key=openclaw_callback.callers_session_name(run))
    ended = await call.wait_for_run(run.id, call.server.config.limits.wait_seconds)
    return AgentHooked(
        ok=True,
        run_id=run.id,
        session_key=openclaw_callback.callers_session_name(run),
        reply=views.result_or_raise(ended),
    )


def _collect_labels(wanted: AgentHook) -> dict[str, str]:
    """Return labels with the caller's own names, which the callback uses."""
    said = {
        "name": wanted.name,
        openclaw_callback.SESSION_LABEL: wanted.session_key,
        openclaw_callback.AGENT_LABEL: wanted.agent_id,
    }
    return {name: value for name, value in said.items() if value is not None}


def _read_reply_target(call: Call[AgentHook, Unheeded]) -> tuple[Target, ...]:
    wanted = call.body
    if not wanted.deliver:
        return ()
    if wanted.channel is None or wanted.to is None:
        raise InvalidRequest("deliver: needs channel and to.", remedy="Name the channel and the chat for the reply.")
    if not call.engine.channels.sends_replies(wanted.channel):
        raise InvalidRequest(f"deliver: the channel {wanted.channel!r} sends nothing; its replies are read.")
    return (Target(kind=wanted.channel, address=wanted.to, format=CHAT_FORMAT),)
