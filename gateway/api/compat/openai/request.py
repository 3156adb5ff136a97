"""Turns a request of an OpenAI client into a run: the agent, the conversation and the prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiohttp import web

from gateway.api import reply, views
from gateway.api.compat.openai.wire import OpenAIComplaint, OpenAIError, Said
from gateway.api.routing import Call
from gateway.domain import ids
from gateway.domain.run import Run, RunSpec, Source
from gateway.errors import AgentError, AgentNotFound, GatewayError, InvalidRequest

#: the channel in the keys of sessions that are named here
OPENAI_CHANNEL = "openai"
#: roles of messages that are instructions, and of messages that the user wrote
INSTRUCTION_ROLES, USER_ROLES = frozenset({"system", "developer"}), frozenset({"user"})


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


def build_spec(
    call: Call[Any, Any], model: str, messages: Sequence[Said], *, user: str | None, session: str | None = None
) -> RunSpec:
    """Return the run that answers a conversation.

    Args:
        user: names a session, as the header `X-Session` does; without a session, the agent only knows the
            messages of the request.
        session: key of a session to continue.

    Raises:
        InvalidRequest: there is no text to answer, the messages have parts that are not text, or the session is
            another agent's.
        NoSuchModel: there is no agent for the model.
    """
    meant = choose_agent(call, model)
    if session is not None and session.partition(":")[0] != meant.agent:
        raise InvalidRequest(f"previous_response_id: that conversation is not one with {meant.agent!r}.")
    named = call.request.headers.get("X-Session") or user
    if session is None and named is not None:
        session = str(call.engine.sessions.resolve_key(named, OPENAI_CHANNEL, meant.agent))
    remembers = session is not None
    fresh = f"{meant.agent}:{OPENAI_CHANNEL}:{ids.make_ulid(call.server.clock()).lower()}"
    return RunSpec(
        source=Source.OPENAI,
        agent=meant.agent,
        session=session or fresh,
        input=build_prompt(messages, remembers=remembers),
        model=meant.model,
    )


def build_prompt(messages: Sequence[Said], *, remembers: bool) -> str:
    """Return the prompt for an agent: instructions, earlier messages, and the last message.

    Args:
        remembers: whether the agent knows the messages up to its last answer.

    Raises:
        InvalidRequest: the last message is not the user's, or a message has parts that are not text.
    """
    told = [(message.role, read_text(message, number)) for number, message in enumerate(messages)]
    talk = [(role, said) for role, said in told if role not in INSTRUCTION_ROLES and said]
    if not talk or talk[-1][0] not in USER_ROLES:
        raise InvalidRequest(
            "messages: the last one must be the user's, and have a text.", details=_param_details("messages")
        )
    instructions = [said for role, said in told if role in INSTRUCTION_ROLES and said]
    last = len(talk) - 1
    while last and talk[last - 1][0] in USER_ROLES:
        last -= 1
    asked = "\n\n".join(said for _, said in talk[last:])
    before = [] if remembers else [f"{role.capitalize()}: {said}" for role, said in talk[:last]]
    if before:
        before = ["The conversation so far:", *before, "The user's next message, which is yours to answer:"]
    return "\n\n".join([*instructions, *before, asked])


def read_text(message: Said, number: int) -> str:
    """Return a message's text.

    Raises:
        InvalidRequest: it has parts that are not text.
    """
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for part in message.content:
        if part.text is None:
            where = f"messages[{number}].content"
            what = f"{where}: {part.type!r} cannot be handed to an agent, only text."
            raise InvalidRequest(what, details=_param_details(where))
    return "".join(part.text or "" for part in message.content)


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

    The error is not raised, so that its response keeps the header that forbids a retry.
    """
    try:
        run = await call.engine.wait_for_run(run.id, call.server.config.limits.wait_seconds)
        return run, views.result_or_raise(run)
    except GatewayError as error:
        return reply.json_response(render_openai_error(error), error.status, call.headers)


def add_run_headers(call: Call[Any, Any], run: Run) -> None:
    """Add headers that name the run, and that forbid the client to repeat a failed request by itself."""
    call.headers["X-Run-Id"] = run.id
    call.headers["x-should-retry"] = "false"


_ERROR_TYPES = {429: "rate_limit_error"}
_ERROR_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def _param_details(name: str) -> dict[str, str]:
    return {"param": name}
