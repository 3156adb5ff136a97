"""What an OpenAI-compatible server is given of a conversation, and what happens when it refuses that."""

# The bodies of errors are as servers send them, in one line.
# ruff: noqa: E501

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from gateway.backends import BackendResources
from gateway.backends.openai import memory
from gateway.backends.openai.backend import OpenAIBackend
from gateway.backends.openai.context import Context, build_context, compute_budget, compute_smaller_budget
from gateway.backends.openai.failure import read_error_body
from gateway.backends.openai.options import Options
from gateway.backends.openai.refusal import PromptTooLong
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Notice
from gateway.domain.session import Message, Role
from gateway.errors import AgentError, PromptRefused
from gateway.process.child import Children
from tests.support.fixtures import children, ledger
from tests.support.hurrying import Hurry
from tests.support.turns import Heard, exchange, listen, message, turn

__all__ = ["children", "ledger"]


def agent(base_url: str = "http://127.0.0.1:1/v1", system_prompt: str | None = None, **options: Any) -> Agent:
    chosen = msgspec.convert({"base_url": base_url, "retry_delay": 0, **options}, Options)
    return Agent(id="main", backend="openai", model="m", system_prompt=system_prompt, options=chosen)


def sent(history: Sequence[Message], given: str, budget: int, system: str | None = None) -> list[dict[str, str]]:
    return build_context(turn(agent(system_prompt=system), given), history, budget).messages


# --- what fits --------------------------------------------------------------------------------


def test_the_oldest_turns_are_dropped_whole() -> None:
    old, new = exchange("a" * 400, "b" * 400, "r1"), exchange("c" * 400, "d" * 400, "r2")

    built = sent([*old, *new], "now", 300, "system")

    assert [said["content"][:3] for said in built] == ["sys", "ccc", "ddd", "now"]


def test_no_newer_turn_is_skipped_for_an_older_one_that_would_fit() -> None:
    history = [*exchange("tiny", "tiny", "r1"), *exchange("c" * 4000, "d", "r2"), *exchange("new", "new", "r3")]

    assert [said["content"] for said in sent(history, "now", 300)] == ["new", "new", "now"]


def test_the_system_prompt_and_the_input_are_sent_even_over_budget() -> None:
    built = sent(exchange("a", "b", "r1"), "i" * 9000, 256, "s" * 9000)

    assert [said["role"] for said in built] == ["system", "user"]


def test_adjacent_messages_of_one_role_are_joined() -> None:
    failed, silent = message(Role.USER, "first", "r1"), exchange("second", "", "r2")

    assert sent([failed, *silent], "third", 1000) == [{"role": "user", "content": "first\n\nsecond\n\nthird"}]


def test_a_prompt_that_the_model_refused_is_left_out() -> None:
    refused = msgspec.structs.replace(message(Role.USER, "poison", "r2"), is_refused=True)

    built = sent([*exchange("hello", "hi", "r1"), refused], "again", 1000)

    assert [said["content"] for said in built] == ["hello", "hi", "again"]


@pytest.mark.parametrize(
    ("window", "max_tokens", "budget"),
    [(32_000, None, 27_904), (8_000, None, 6_000), (256, None, 192), (8_000, 1_000, 7_000), (8_000, 100_000, 4_000)],
)
def test_room_for_the_answer_is_reserved(window: int, max_tokens: int | None, budget: int) -> None:
    assert compute_budget(window, max_tokens) == budget


# --- a smaller budget -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "counted", "budget"),
    [
        (8_000, None, 5_400),  # of 8,000 three quarters are for the messages, and a tenth is for our mistakes
        (8_000, 20_000, 2_700),  # the server counts twice what we do
        (None, None, 2_500),
        (1_000_000, None, 9_999),  # always less than what was refused
    ],
)
def test_a_smaller_budget_follows_what_the_server_says(limit: int | None, counted: int | None, budget: int) -> None:
    error = PromptTooLong("too long", limit=limit, prompt_tokens=counted)

    assert compute_smaller_budget(Context([], 10_000, 0), error, None) <= budget
    assert compute_smaller_budget(Context([], 10_000, 0), error, None) > budget * 0.4


def judge(status: int, body: bytes) -> AgentError:
    return read_error_body(body)._replace(status=status).make_error("refused")


# --- how servers refuse -----------------------------------------------------------------------

LENGTH_REFUSALS: list[tuple[int, Any, int | None, int | None]] = [
    (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in"
                " 12000 tokens. Please reduce the length of the messages.",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            }
        },
        8192,
        12000,
    ),
    (400, {"error": {"message": "Your input exceeds the limit.", "code": "context_length_exceeded"}}, None, None),
    (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4500 in"
            " the messages, 500 in the completion). Please reduce the length of the messages or completion.",
            "type": "BadRequestError",
            "code": 400,
        },
        4096,
        4500,
    ),
    (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 8,000 tokens. However, your request has 9,001 input"
                " tokens. Please reduce the length of the input messages.",
            }
        },
        8000,
        9001,
    ),
    (
        400,
        {
            "error": {
                "message": "'max_tokens' or 'max_completion_tokens' is too large: 4000. This model's maximum context"
                " length is 8192 tokens and your request has 7000 input tokens (4000 > 8192 - 7000).",
                "param": "max_tokens",
            }
        },
        8192,
        7000,
    ),
    (
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 9000,
                "n_ctx": 8192,
            }
        },
        8192,
        9000,
    ),
    (400, {"error": "the input length exceeds the context length"}, None, None),
    (400, {"error": {"message": "input length 9000 exceeds context 8000"}}, None, None),
    (400, {"error": {"message": "the conversation exceeds the window of this model"}}, None, None),
    (400, {"error": {"message": "The prompt does not fit."}}, None, None),
    (400, {"detail": "9000 tokens, max 8000"}, None, None),
    (500, {"error": {"message": "rpc error: the request exceeds the available context size (2048 tokens)"}}, 2048, None),
    (
        400,
        {"error": {"message": "Requested tokens (9000) exceed context window of 8192", "type": "invalid_request_error"}},
        8192,
        9000,
    ),
    (
        400,
        {
            "error": {
                "message": "litellm.ContextWindowExceededError: litellm.BadRequestError: prompt is too long: 210000"
                " tokens > 200000 maximum",
                "type": None,
                "code": "400",
            }
        },
        200_000,
        210_000,
    ),
    (
        400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8 maximum"}},
        None,
        None,
    ),
    (413, {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}, None, None),
    (413, "<html><h1>413 Request Entity Too Large</h1></html>", None, None),
    (413, {"error": {"code": "tokens_limit_reached", "message": "Request body too large for gpt-4o. Max size: 8000 tokens."}}, 8000, None),
    (
        429,
        {"error": {"message": "Request too large for gpt-4 on tokens per min (TPM): Limit 10000, Requested 12000.", "type": "tokens"}},
        10_000,
        12_000,
    ),
    (400, [{"error": {"code": 400, "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "status": "INVALID_ARGUMENT"}}], 1_048_576, 1_200_000),
    (400, {"message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"}, 32768, 40000),
    (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000", "error_type": "validation"}, 1024, 2000),
    (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens and 1000 `max_new_tokens`"}, 8193, 9000),
    (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292"}, 4081, 4292),
    (400, {"error": "Trying to keep the first 4861 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens"}, 4096, None),
    (400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 30720]"}, 30720, None),
    (400, {"error": {"message": "Invalid request: Your request exceeded model token limit: 8192", "type": "invalid_request_error"}}, 8192, None),
    (400, {"error": {"code": "1261", "message": "Prompt 超长"}}, None, None),
    (400, {"error": "This model's maximum prompt length is 131072 but the request contains 150000 tokens."}, 131_072, 150_000),
    (400, {"message": "Input is too long for requested model."}, None, None),
    (400, {"message": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."}, 8192, 9000),
    (400, {"error": {"message": "The decoder prompt (length 9000) is longer than the maximum model length of 8192."}}, 8192, 9000),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "limit", "counted"), LENGTH_REFUSALS)
def test_a_refusal_for_length_is_recognized(status: int, body: Any, limit: int | None, counted: int | None) -> None:
    encoded = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    error = judge(status, encoded)

    assert isinstance(error, PromptTooLong)
    assert (error.limit, error.prompt_tokens) == (limit, counted)


CONTENT_REFUSALS: list[tuple[int, Any]] = [
    (400, {"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "param": "prompt", "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
    (400, {"error": {"message": "Invalid prompt: we've limited access to this content for safety reasons.", "type": "invalid_request_error", "code": "invalid_prompt"}}),
    (400, {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}),
    (400, {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}),
    (403, {"error": {"code": 403, "message": "Your chosen model requires moderation and your input was flagged", "metadata": {"reasons": ["violence"]}}}),
    (400, {"error": {"message": "Invalid value for 'content'", "param": "messages[3].content"}}),
    (422, {"detail": "Unprocessable"}),
    (451, {"error": "no"}),
    (400, "no"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), CONTENT_REFUSALS)
def test_a_refusal_for_content_is_recognized(status: int, body: Any) -> None:
    encoded = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    assert type(judge(status, encoded)) is PromptRefused


OTHER_ERRORS: list[tuple[int, Any]] = [
    (401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}),
    (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}]),
    (402, {"error": {"message": "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 1000"}}),
    (403, {"error": {"message": "Country, region, or territory not supported"}}),
    (404, {"error": {"message": "The model `x` does not exist"}}),
    (400, {"error": {"message": "Your credit balance is too low to access the Anthropic API.", "type": "invalid_request_error"}}),
    (400, {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model.", "param": "max_tokens", "code": "unsupported_parameter"}}),
    (400, {"error": {"message": "model 'x' not found"}}),
    (400, {"error": {"message": "max_tokens is too large: 200000. This model supports at most 16384 completion tokens.", "param": "max_tokens"}}),
    (429, {"error": {"message": "Rate limit reached for gpt-4 on tokens per min (TPM): Limit 10000, Used 9000, Requested 2000.", "code": "rate_limit_exceeded"}}),
    (429, {"error": {"message": "This request would exceed your organization's rate limit of 40,000 input tokens per minute."}}),
    (500, {"error": {"message": "CUDA out of memory"}}),
    (503, {"error": {"message": "too many requests"}}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), OTHER_ERRORS)
def test_an_error_that_is_not_about_the_prompt_is_no_refusal(status: int, body: Any) -> None:
    assert not isinstance(judge(status, json.dumps(body).encode()), PromptRefused)


# --- against a server -------------------------------------------------------------------------


class SmallServer:
    """A server with a small window; it refuses longer prompts, and prompts with the word "poison"."""

    def __init__(self, window: int, refusal_text: str) -> None:
        self.window = window
        self.refusal_text = refusal_text
        self.base_url = ""
        #: the contents of each request
        self.requests: list[list[str]] = []
        #: answer a refusal as an error in a stream
        self.in_stream = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        contents = [said["content"] for said in (await request.json())["messages"]]
        self.requests.append(contents)
        if any("poison" in content for content in contents):
            return web.json_response({"error": {"message": "flagged", "code": "content_filter"}}, status=400)
        if sum(len(content) for content in contents) // 4 > self.window:
            error = {"error": {"message": self.refusal_text.format(window=self.window), "code": 400}}
            if not self.in_stream:
                return web.json_response(error, status=400)
            text = f"data: {json.dumps(error)}\n\ndata: [DONE]\n\n"
            return web.Response(text=text, content_type="text/event-stream")
        chunk = {"choices": [{"delta": {"content": "ok"}, "finish_reason": "stop"}]}
        return web.Response(text=f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", content_type="text/event-stream")


@pytest.fixture
async def server() -> AsyncIterator[SmallServer]:
    serving = SmallServer(8_000, "maximum context length is {window} tokens")
    app = web.Application(client_max_size=64 << 20)
    app.add_routes([web.post("/v1/chat/completions", serving.answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    serving.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield serving
    await runner.cleanup()


@pytest.fixture
async def backend(children: Children, tmp_path: Path) -> AsyncIterator[OpenAIBackend]:
    async with OpenAIBackend(BackendResources(children=children, environ={}, directory=tmp_path)) as opened:
        yield opened


def long_history(turns: int, characters: int) -> list[Message]:
    return [said for n in range(turns) for said in exchange(f"{n}" * characters, f"answer {n}", f"r{n}")]


@pytest.mark.parametrize(
    "text", ["maximum context length is {window} tokens", "please reduce the length of the messages"]
)
@pytest.mark.parametrize("in_stream", [False, True])
async def test_a_refusal_for_length_drops_the_oldest_turns_and_says_so(
    backend: OpenAIBackend, server: SmallServer, text: str, in_stream: bool
) -> None:
    server.refusal_text, server.in_stream = text, in_stream

    heard = await listen(backend, turn(agent(server.base_url), "hi", history=long_history(18, 5000)))

    first, second = server.requests
    assert heard.answer == "ok"
    assert len(second) < len(first)
    assert second[-1] == "hi"
    (log,) = heard.of(Log)
    assert log.notice is Notice.CONTEXT_SHORTENED
    assert f"once more without the {(len(first) - len(second)) // 2} oldest turns" in log.message


async def test_the_next_turn_keeps_to_the_window_that_the_server_named(
    backend: OpenAIBackend, server: SmallServer, hurry: Hurry
) -> None:
    asked = turn(agent(server.base_url), "hi", history=long_history(18, 5000))
    await listen(backend, asked)

    heard = await listen(backend, asked)
    assert (len(server.requests), heard.logs) == (3, [])

    hurry(memory.REMEMBERED_SECONDS)
    await listen(backend, asked)
    assert len(server.requests) == 5, "after an hour it tries again whether the server takes more"


async def test_a_second_refusal_for_length_is_an_error(backend: OpenAIBackend, server: SmallServer) -> None:
    server.window = 0

    with pytest.raises(PromptTooLong, match="Send less"):
        await listen(backend, turn(agent(server.base_url), "h" * 100, history=long_history(5, 5000)))

    assert len(server.requests) == 2


async def test_a_prompt_that_is_too_long_alone_is_not_sent_twice(backend: OpenAIBackend, server: SmallServer) -> None:
    with pytest.raises(PromptTooLong, match="maximum context length is 8000"):
        await listen(backend, turn(agent(server.base_url), "h" * 40_000))

    assert len(server.requests) == 1


async def test_a_refusal_for_what_was_said_earlier_does_not_last(backend: OpenAIBackend, server: SmallServer) -> None:
    heard = await listen(backend, turn(agent(server.base_url), "hello", history=exchange("poison", "no", "r1")))

    assert len(server.requests) == 2
    assert "poison" not in json.dumps(server.requests[1])
    [remark] = [said for said in heard.said if isinstance(said, Log)]
    assert (remark.notice, "without the conversation so far" in remark.message) == (Notice.CONTEXT_SHORTENED, True)


async def test_an_earlier_prompt_without_an_answer_may_be_what_is_refused(
    backend: OpenAIBackend, server: SmallServer
) -> None:
    heard = await listen(backend, turn(agent(server.base_url), "hello", history=[message(Role.USER, "poison", "r1")]))

    assert (heard.answer, len(server.requests)) == ("ok", 2)


async def test_a_refusal_for_what_is_said_now_is_one_with_and_without_the_conversation(
    backend: OpenAIBackend, server: SmallServer
) -> None:
    with pytest.raises(PromptRefused, match="flagged"):
        await listen(backend, turn(agent(server.base_url), "poison", history=exchange("hello", "hi", "r1")))

    assert len(server.requests) == 2


async def test_a_refusal_for_content_is_told_apart_from_other_errors(
    backend: OpenAIBackend, server: SmallServer
) -> None:
    with pytest.raises(PromptRefused, match="flagged"):
        await listen(backend, turn(agent(server.base_url), "poison"))
    heard = Heard()
    with pytest.raises(AgentError) as gone:
        await listen(backend, turn(agent("http://127.0.0.1:1/v1", retries=0), "hello"), heard)

    assert not isinstance(gone.value, PromptRefused)
