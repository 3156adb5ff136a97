"""From a request of an OpenAI client to a run: which agent, which conversation, what prompt."""

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

#: the channel of conversations that are held through this door
CHANNEL = "openai"
#: roles whose words are instructions, and those whose words are the caller's own
INSTRUCTING, ASKING = frozenset({"system", "developer"}), frozenset({"user"})


class NoSuchModel(AgentNotFound):
    """No agent has that name."""


class Who(NamedTuple):
    """The agent that a model's name means."""

    agent: str
    #: the agent's own model; None leaves it to the agent
    model: str | None


def who(call: Call[Any, Any], name: str) -> Who:
    """Return what `agent` or `agent/model` means.

    Raises:
        NoSuchModel: no agent has that id, or it takes no work.
    """
    agent, _, model = name.partition("/")
    if model and not re.match(ids.MODEL, model):
        raise NoSuchModel(f"The model {name!r} does not exist: no model can have that name.")
    try:
        return Who(call.engine.agents.choose(agent).id, model or None)
    except (AgentNotFound, InvalidRequest) as error:
        raise NoSuchModel(f"The model {name!r} does not exist: {error}") from error


def spec(
    call: Call[Any, Any], model: str, messages: Sequence[Said], *, user: str | None, session: str | None = None
) -> RunSpec:
    """Return the run that answers a conversation.

    Args:
        user: picks a session that remembers, as the header `X-Session` does; without one the messages
            are all there is to know.
        session: key of a session to go on with.

    Raises:
        InvalidRequest: there is no text to answer, it is something else than text, or the session is
            another agent's.
        NoSuchModel: no agent is meant.
    """
    meant = who(call, model)
    if session is not None and session.partition(":")[0] != meant.agent:
        raise InvalidRequest(f"previous_response_id: that conversation is not one with {meant.agent!r}.")
    named = call.request.headers.get("X-Session") or user
    if session is None and named is not None:
        session = str(call.engine.sessions.key(named, CHANNEL, meant.agent))
    remembers = session is not None
    fresh = f"{meant.agent}:{CHANNEL}:{ids.ulid(call.server.clock()).lower()}"
    return RunSpec(
        source=Source.OPENAI,
        agent=meant.agent,
        session=session or fresh,
        input=prompt(messages, remembers=remembers),
        model=meant.model,
    )


def prompt(messages: Sequence[Said], *, remembers: bool) -> str:
    """Return what an agent is told: its instructions, what was said before, and the last message.

    Args:
        remembers: the agent has heard all but what follows the last answer.

    Raises:
        InvalidRequest: nobody asks anything, or something else than text is said.
    """
    told = [(message.role, text(message, number)) for number, message in enumerate(messages)]
    talk = [(role, said) for role, said in told if role not in INSTRUCTING and said]
    if not talk or talk[-1][0] not in ASKING:
        raise InvalidRequest("messages: the last one must be the user's, and have a text.", details=_param("messages"))
    instructions = [said for role, said in told if role in INSTRUCTING and said]
    last = len(talk) - 1
    while last and talk[last - 1][0] in ASKING:
        last -= 1
    asked = "\n\n".join(said for _, said in talk[last:])
    before = [] if remembers else [f"{role.capitalize()}: {said}" for role, said in talk[:last]]
    if before:
        before = ["The conversation so far:", *before, "The user's next message, which is yours to answer:"]
    return "\n\n".join([*instructions, *before, asked])


def text(message: Said, number: int) -> str:
    """Return a message's text.

    Raises:
        InvalidRequest: it has parts that are no text.
    """
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for part in message.content:
        if part.text is None:
            where = f"messages[{number}].content"
            what = f"{where}: {part.type!r} cannot be handed to an agent, only text."
            raise InvalidRequest(what, details=_param(where))
    return "".join(part.text or "" for part in message.content)


def run_id(name: str, prefix: str) -> str:
    """Return the run's id that an id with a prefix stands for; what is none of ours fits no run."""
    return name.removeprefix(prefix) if name.startswith(prefix) else name


def complain(error: GatewayError) -> OpenAIError:
    """Return an error in the shape that OpenAI's clients read; they tell kinds apart by status."""
    missing = isinstance(error, NoSuchModel)
    return OpenAIError(
        error=OpenAIComplaint(
            message=str(error),
            type=_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error"),
            param="model" if missing else str(error.details["param"]) if "param" in error.details else None,
            code="model_not_found" if missing else _CODES.get(error.status, error.code.lower()),
        )
    )


def cut_short(run: Run) -> GatewayError:
    """Return what ends a stream whose run begins anew: what was said cannot be taken back."""
    return AgentError("the answer was cut short, and is being given anew.", details={"run_id": run.id})


async def ended(call: Call[Any, Any], run: Run) -> tuple[Run, str] | web.Response:
    """Wait for a run's end; return it with its answer, or as the error that it is.

    Not raised: the answer is to say that the run must not be begun again.
    """
    try:
        run = await call.engine.wait(run.id, call.server.config.limits.wait_seconds)
        return run, views.result(run)
    except GatewayError as error:
        return reply.json(complain(error), error.status, call.headers)


def headers(call: Call[Any, Any], run: Run) -> None:
    """Say which run answers, and that it must not be begun again: clients repeat what failed by themselves."""
    call.headers["X-Run-Id"] = run.id
    call.headers["x-should-retry"] = "false"


_TYPES = {429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def _param(name: str) -> dict[str, str]:
    return {"param": name}
