"""Turns a request of an OpenAI client into a run, and the run's errors into answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from gateway.api import reply, views
from gateway.api.attachments import limit_body_with_files
from gateway.api.body import BodyLimit
from gateway.api.compat.openai import conversation_files, parts, prompt
from gateway.api.compat.openai.wire import OpenAIComplaint, OpenAIError, Said
from gateway.api.routing import Call, ServerContext
from gateway.domain import ids
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.run import Run, RunSpec, Source
from gateway.domain.session import MAX_CHAT_CHARACTERS, SessionKey
from gateway.errors import AgentError, AgentNotFound, GatewayError, InvalidRequest, OverBudget, TooLarge

#: the channel in the keys of sessions that are named here
OPENAI_CHANNEL = "openai"
#: HTTP status when a run has no answer: 424 Failed Dependency, which no client repeats by itself
RUN_FAILED_STATUS = 424
#: characters of the label with the client's name of its user
MAX_USER_LABEL_CHARACTERS = 128


class NoSuchModel(AgentNotFound):
    """There is no agent for this model name."""


class AgentChoice(NamedTuple):
    """The agent that a model name stands for."""

    agent: str
    #: the model that the agent is to use; None for its own default
    model: str | None


def choose_agent(call: Call[Any, Any], name: str) -> AgentChoice:
    """Return the agent and the model that `agent` or `agent/model` stands for.

    Raises:
        NoSuchModel: no agent has that id, or it is disabled.
    """
    agent, _, model = name.partition("/")
    if model and not re.match(ids.MODEL_PATTERN, model):
        raise NoSuchModel(f"The model {name!r} does not exist: no model can have that name.")
    try:
        return AgentChoice(call.engine.agents.choose_agent(agent).id, model or None)
    except (AgentNotFound, InvalidRequest) as error:
        raise NoSuchModel(f"The model {name!r} does not exist: {error}") from error


async def submit_conversation(
    call: Call[Any, Any],
    messages: Sequence[Said],
    *,
    field: str,
    instructions: str = "",
    can_be_continued: bool = False,
    previous: Run | None = None,
    request_fields: Mapping[str, Any] | None = None,
) -> Run:
    """Submit the run that answers a conversation, with its files, and return it. The body has no messages then.

    The header `X-Session`, or `session` in the request's metadata, names a session of this channel. Without one, the
    agent only knows the messages of the request.

    Args:
        field: the field of the request that the messages come from, for errors.
        can_be_continued: whether a later request may name the answer and continue its conversation.
        previous: the run whose conversation is continued.
        request_fields: what to repeat when the run is shown.

    Raises:
        InvalidRequest: there is nothing to answer, the last message has parts that cannot be used, the name of the
            session is not valid, or the conversation to continue is another agent's.
        NoSuchModel: there is no agent for the model.
        TooLarge: the text for the agent is too long, or the last message has too many files, or too large ones.
        StorageFull, Unavailable: the disk has no room.
    """
    _check_text_size(call, messages)
    asked = call.body
    meant = choose_agent(call, asked.model)
    chat = None if previous is not None else _read_session_name(call)
    if previous is not None:
        session = previous.spec.session
        if session.partition(":")[0] != meant.agent:
            raise InvalidRequest(f"previous_response_id: that conversation is not one with {meant.agent!r}.")
    else:
        fresh = ids.make_ulid(call.server.clock()).lower()
        session = str(SessionKey.from_parts(meant.agent, OPENAI_CHANNEL, fresh if chat is None else chat))
    remembers = previous is not None or chat is not None
    talk = prompt.split_conversation(messages, field=field, remembers=remembers)
    key = await _read_idempotency_key(call, messages, field)
    async with call.engine.files.open_staging() as staging:
        received = await conversation_files.receive_files(call, talk, staging, field)
        spec = RunSpec(
            source=Source.OPENAI,
            agent=meant.agent,
            session=session,
            input=prompt.build_prompt(
                talk,
                received.notes,
                field=field,
                instructions=instructions,
                max_bytes=call.server.config.limits.body,
            ),
            attachments=received.files,
            model=meant.model,
            labels={"user": label} if (label := _make_user_label(asked.user)) else {},
            request_fields=dict(request_fields or {}),
            keeps_workspace=can_be_continued or remembers,
        )
        run = (await call.engine.runs.submit_run(spec, key, staged=staging.staged)).run
    call.forget_files(**{field: []})
    return run


def limit_conversation_body(request: web.Request, server: ServerContext) -> BodyLimit:
    """Return how long the body of a request may be that repeats a conversation, with the files in it."""
    files = limit_body_with_files(request, server).max_bytes - server.config.limits.body
    return BodyLimit(server.config.limits.history + files, "limits.history")


def _check_text_size(call: Call[Any, Any], messages: Sequence[Said]) -> None:
    limit = call.server.config.limits.history
    if call.body_size > limit and call.body_size - parts.count_file_characters(messages) > limit:
        raise TooLarge(
            f"the body without its files is larger than {limit} bytes.", remedy="Send less, or raise limits.history."
        )


async def _read_idempotency_key(call: Call[Any, Any], messages: Sequence[Said], field: str) -> IdempotencyKey | None:
    """Return the key of the request, which the content of its files belongs to, by its hash."""
    if "Idempotency-Key" not in call.request.headers or isinstance(getattr(call.body, field), str):
        return call.read_idempotency_key()
    hashed = {field: await asyncio.to_thread(parts.hash_files, messages)}
    return call.copy_with_body(msgspec.structs.replace(call.body, **hashed)).read_idempotency_key()


def _read_session_name(call: Call[Any, Any]) -> str | None:
    """Return the name of the session that the request continues, or None.

    It is always the name of a chat of this channel, never the key of another channel's session.

    Raises:
        InvalidRequest: it is not a name.
    """
    given: Any = call.request.headers.get("X-Session")
    where = "X-Session"
    if given is None:
        given, where = (call.body.metadata or {}).get("session"), "metadata.session"
    if given is None:
        return None
    if not (isinstance(given, str) and 1 <= len(given) <= MAX_CHAT_CHARACTERS and given.isprintable()):
        raise InvalidRequest(f"{where}: use 1 to {MAX_CHAT_CHARACTERS} printable characters.", details={"param": where})
    return given


def _make_user_label(user: str | None) -> str:
    """Return a client's name of its user as a label: printable, and cut where a label ends."""
    return "".join(letter for letter in user or "" if letter.isprintable())[:MAX_USER_LABEL_CHARACTERS]


def parse_run_id(name: str, prefix: str) -> str:
    """Return the run's id in an id with this prefix; other ids are returned as they are, and match no run."""
    return name.removeprefix(prefix) if name.startswith(prefix) else name


def render_openai_error(error: GatewayError) -> OpenAIError:
    """Return an error in OpenAI's shape; its clients distinguish errors by the HTTP status."""
    missing = isinstance(error, NoSuchModel)
    return OpenAIError(
        error=OpenAIComplaint(
            message=str(error),
            type=_ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error"),
            param="model" if missing else str(error.details["param"]) if "param" in error.details else None,
            code="model_not_found" if missing else _ERROR_CODES.get(error.status, error.code.lower()),
        )
    )


def restarted_answer_error(run: Run) -> GatewayError:
    """Return the error that ends a stream when its run starts again: the text so far cannot be taken back."""
    return AgentError("the answer was interrupted, and its run has started again.", details={"run_id": run.id})


async def wait_for_answer(call: Call[Any, Any], run: Run) -> tuple[Run, str] | web.Response:
    """Wait for a run's end; return the run and its answer, or a response with its error.

    Such a response never asks for the same request again: the run is stored, and an agent may have acted already. Some
    clients do not know the header that says so, and repeat whatever has a status of 5xx, 408, 409 or 429; so the status
    is another one, unless the run was not allowed to begin.
    """
    try:
        run = await call.wait_for_run(run.id, call.server.config.limits.wait_seconds)
        return run, views.result_or_raise(run)
    except GatewayError as error:
        status = error.status if isinstance(error, OverBudget) else RUN_FAILED_STATUS
        return reply.json_response(render_openai_error(error), status, call.headers)


def add_run_headers(call: Call[Any, Any], run: Run) -> None:
    """Add headers that name the run, and that forbid the client to repeat a failed request by itself."""
    call.headers["X-Run-Id"] = run.id
    call.headers["x-should-retry"] = "false"


_ERROR_TYPES = {429: "rate_limit_error"}
_ERROR_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
