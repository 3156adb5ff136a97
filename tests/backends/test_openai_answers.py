"""The answers of OpenAI-compatible servers: complete, cut, broken off, or none at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.backends import BackendResources
from gateway.backends.openai.backend import OpenAIBackend
from gateway.backends.openai.options import Options
from gateway.domain.agent import Agent
from gateway.domain.event import Usage
from gateway.domain.run import FinishReason
from gateway.errors import AgentError
from gateway.process.child import Children
from tests.support.fixtures import children, ledger
from tests.support.raw_model import DONE, chunk, end, piece, reply, serve_raw_model
from tests.support.turns import Heard, listen, turn

__all__ = ["children", "ledger"]

FINE = reply(chunk(content="hello") + end("stop") + DONE)


@pytest.fixture
async def backend(children: Children, tmp_path: Path) -> AsyncIterator[OpenAIBackend]:
    async with OpenAIBackend(BackendResources(children=children, environ={}, directory=tmp_path)) as opened:
        yield opened


def agent(base_url: str, **options: Any) -> Agent:
    wanted = {"base_url": base_url, "retry_delay": 0, **options}
    return Agent(id="main", backend="openai", model="m", options=msgspec.convert(wanted, Options))


async def hear(backend: OpenAIBackend, *answers: bytes, heard: Heard | None = None, **options: Any) -> Heard:
    """Ask a server that gives these answers in order."""
    async with serve_raw_model(*answers) as model:
        return await listen(backend, turn(agent(model.base_url, **options), "hi"), heard)


async def count_requests(backend: OpenAIBackend, *answers: bytes, error: str) -> int:
    """Ask a server whose answers end in an error; return how often it was asked."""
    async with serve_raw_model(*answers) as model:
        with pytest.raises(AgentError, match=error):
            await listen(backend, turn(agent(model.base_url, retries=1), "hi"))
        return model.requests


def raw(line: str) -> bytes:
    return line.encode() + b"\n\n"


# --- failures inside a stream -----------------------------------------------------------------

#: how servers fail inside a stream of status 200: the stream, the words that the error must have, and whether
#: another try may succeed
STREAM_FAILURES = {
    "vLLM": (
        piece({"object": "error", "message": "CUDA out of memory", "type": "InternalServerError", "code": 500}) + DONE,
        "CUDA out of memory",
        True,
    ),
    "vLLM, newer": (
        piece({"error": {"message": "engine died", "type": "InternalServerError", "param": None, "code": 500}}) + DONE,
        "engine died",
        True,
    ),
    "vLLM, a request that is wrong": (
        piece({"object": "error", "message": "no chat template", "type": "BadRequestError", "code": 400}) + DONE,
        "no chat template",
        False,
    ),
    "llama.cpp": (
        raw('error: {"code":500,"message":"failed to decode","type":"server_error"}'),
        "failed to decode",
        True,
    ),
    "llama.cpp, newer": (
        piece({"error": {"code": 400, "message": "slot unavailable", "type": "invalid_request_error"}}),
        "slot unavailable",
        False,
    ),
    "Ollama": (raw('{"error":"model runner has unexpectedly stopped"}'), "has unexpectedly stopped", True),
    "Ollama, silent": (chunk(role="assistant", content=""), "before it was complete", True),
    "LiteLLM": (
        piece({"error": {"message": "litellm.RateLimitError", "type": None, "param": None, "code": "429"}}),
        "RateLimitError",
        True,
    ),
    "LiteLLM, a key that is wrong": (
        piece({"error": {"message": "litellm.AuthenticationError", "type": "auth_error", "code": "401"}}) + DONE,
        "AuthenticationError",
        False,
    ),
    "LM Studio": (b"event: error\n" + piece({"error": {"message": "Model unloaded."}}), "Model unloaded", True),
    "LM Studio, a text": (b"event: error\n" + raw("data: The model has crashed"), "The model has crashed", True),
    "OpenRouter": (
        raw(": OPENROUTER PROCESSING")
        + piece(
            {
                "error": {"code": 502, "message": "Provider disconnected"},
                "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
            }
        ),
        "Provider disconnected",
        True,
    ),
    "OpenRouter, in the choice": (
        piece({"choices": [{"delta": {}, "finish_reason": "error", "error": {"code": 403, "message": "flagged"}}]}),
        "flagged",
        False,
    ),
    "OpenRouter, only a reason": (end("error") + DONE, "broke off the answer: error", True),
    "Mistral": (
        piece({"object": "error", "message": "Service unavailable", "type": "unreachable_backend", "code": "1000"}),
        "Service unavailable",
        True,
    ),
    "Mistral, a request that is wrong": (
        piece({"object": "error", "message": {"detail": [{"msg": "Field required"}]}, "type": "invalid_request_error"}),
        "Field required",
        False,
    ),
    "text-generation-inference": (
        piece({"error": "Request failed during generation", "error_type": "generation"}),
        "failed during generation",
        True,
    ),
    "text-generation-inference, too long": (
        piece({"error": "Input validation error: too many tokens", "error_type": "validation"}),
        "Input validation error",
        False,
    ),
    "text-generation-inference, as OpenAI": (
        piece({"error": {"message": "out of memory", "http_status_code": 500}}) + DONE,
        "out of memory",
        True,
    ),
    "two fields": (piece({"error_type": "Fatal", "error_message": "no memory is left"}) + DONE, "no memory is", True),
    "DeepSeek": (raw(": keep-alive") + end("insufficient_system_resource") + DONE, "insufficient_system", True),
    "Zhipu": (end("network_error") + DONE, "network_error", True),
    "Anthropic": (
        b"event: error\n" + piece({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        "Overloaded",
        True,
    ),
    "Google": (
        piece([{"error": {"code": 503, "message": "The model is overloaded", "status": "UNAVAILABLE"}}]),
        "The model is overloaded",
        True,
    ),
    "Groq": (piece({"choices": [], "x_groq": {"error": "over_capacity"}}) + DONE, "over_capacity", True),
    "xAI": (piece({"code": "Some resource is exhausted", "error": "Slow down"}) + DONE, "Slow down", True),
    "MiniMax": (
        piece({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}) + DONE,
        "insufficient balance",
        False,
    ),
    "DashScope": (piece({"code": "Throttling", "message": "Requests throttled"}) + DONE, "throttled", True),
    "FastAPI": (piece({"detail": "Internal Server Error"}) + DONE, "Internal Server Error", True),
    "a proxy": (raw("<html><body><h1>502 Bad Gateway</h1></body></html>"), "502 Bad Gateway", True),
    "a rate limit": (piece({"error": {"message": "Rate limit exceeded", "code": 429}}), "Rate limit", True),
    "a timeout": (piece({"error": {"message": "Request timeout", "code": 408}}), "Request timeout", True),
    "overloaded": (piece({"error": {"message": "Overloaded", "code": 529}}), "Overloaded", True),
    "a quota": (piece({"error": {"message": "You exceeded your quota", "code": 429}}), "your quota", False),
    "only a string": (piece("the engine died") + DONE, "the engine died", True),
    "nothing but null": (piece(None) + DONE, "without a text", True),
    "Google, a limit of a minute": (
        piece([{"error": {"code": 429, "message": "Resource has been exhausted (e.g. check quota)."}}]),
        "Resource has been exhausted",
        True,
    ),
    "Google, a limit that names its end": (
        piece({"error": {"code": 429, "message": "You exceeded your current quota. Please retry in 34.07s."}}),
        "Please retry in",
        True,
    ),
    "only a text": (piece({"error": "it broke"}) + DONE, "it broke", True),
    "no words": (piece({"error": True}) + DONE, "true", True),
    "only the end": (DONE, "without a text", True),
    "no choices": (piece({"choices": []}) + DONE, "without a text", True),
    "no choices and a reason": (piece({"choices": []}) + end("stop") + DONE, "without a text", True),
    "only a usage": (piece({"usage": {"prompt_tokens": 5}}) + DONE, "without a text", True),
    "only spaces": (chunk(content=" \n") + end("stop") + DONE, "without a text", False),
    "only a control sequence": (chunk(content="\x1b[0m") + end("stop") + DONE, "without a text", False),
    "a control sequence in pieces": (
        chunk(content="\x1b") + chunk(content="[3") + chunk(content="2m") + end("stop") + DONE,
        "without a text",
        False,
    ),
    "only controls": (chunk(content="\x00\x07\x7f") + end("stop") + DONE, "without a text", False),
    "only zero-width characters": (
        chunk(content="\u200b\u200d\ufeff\u2060\u00ad") + end("stop") + DONE,
        "without a text",
        False,
    ),
    "a filter": (end("content_filter") + DONE, "content filter withheld", False),
    "a limit": (end("length") + DONE, "limit of tokens.*max_tokens", False),
    "a tool": (chunk(tool_calls=[{"index": 0}]) + end("tool_calls") + DONE, "called a tool", False),
    "a function": (chunk(function_call={"name": "f"}) + end("function_call") + DONE, "called a tool", False),
}


@pytest.mark.parametrize(("body", "words", "is_temporary"), STREAM_FAILURES.values(), ids=STREAM_FAILURES.keys())
async def test_a_stream_that_ends_without_text_is_a_failure_in_the_servers_words(
    backend: OpenAIBackend, body: bytes, words: str, is_temporary: bool
) -> None:
    asked = await count_requests(backend, reply(body), error=words)

    assert asked == (2 if is_temporary else 1)


@pytest.mark.parametrize(
    "body",
    [body for body, _, is_temporary in STREAM_FAILURES.values() if is_temporary],
    ids=[name for name, (_, _, is_temporary) in STREAM_FAILURES.items() if is_temporary],
)
async def test_a_passing_failure_inside_a_stream_is_tried_again_and_logged(backend: OpenAIBackend, body: bytes) -> None:
    heard = await hear(backend, reply(body), FINE)

    assert heard.answer == "hello"
    assert "trying again" in heard.logs[0]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (piece({"error": {"message": "Rate limit exceeded", "code": 429}}), "middle of the answer: Rate limit"),
        (piece({"object": "error", "message": "CUDA out of memory"}) + DONE, "middle of the answer: CUDA"),
        (piece({"error_type": "X", "error_message": "no memory"}) + DONE, "middle of the answer: no memory"),
        (piece({"detail": "Internal Server Error"}) + DONE, "middle of the answer: Internal"),
        (raw("error: no slot"), "middle of the answer: .*no slot"),
        (raw("Traceback (most recent call last):"), "before it was complete: Traceback"),
    ],
)
async def test_a_failure_after_the_first_word_is_not_tried_again(
    backend: OpenAIBackend, said: bytes, words: str
) -> None:
    asked = await count_requests(backend, reply(chunk(content="half") + said), error=words)

    assert asked == 1


async def test_reasoning_alone_is_no_answer_and_is_not_tried_again(backend: OpenAIBackend) -> None:
    for reason, words in (("length", "limit of tokens"), ("stop", "reasoned, and gave no answer")):
        body = chunk(reasoning_content="hm") + chunk(content="\n\n") + end(reason) + DONE

        assert await count_requests(backend, reply(body), error=words) == 1


async def test_what_a_failed_answer_used_counts(backend: OpenAIBackend) -> None:
    used = piece({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})
    heard = Heard()

    with pytest.raises(AgentError, match="limit of tokens"):
        await hear(backend, reply(end("length") + used + DONE), heard=heard)

    assert heard.usage == Usage(input=7, output=5)


@pytest.mark.parametrize("reason", ["stop", None])
async def test_the_whole_answer_of_a_server_that_does_not_stream_is_read(backend: OpenAIBackend, reason: Any) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": reason}
    whole = {"object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}

    heard = await hear(backend, reply(json.dumps(whole).encode(), "application/json; charset=utf-8"))

    assert (heard.answer, heard.usage) == ("Hello", Usage(input=7, output=5))


# --- what stands beside the answer ------------------------------------------------------------


@pytest.mark.parametrize("beside", [None, [], 0, True, "ping"])
async def test_a_piece_that_is_no_object_is_skipped(backend: OpenAIBackend, beside: Any) -> None:
    heard = await hear(backend, reply(piece(beside) + chunk(content="hello") + end("stop") + DONE))

    assert heard.answer == "hello"


@pytest.mark.parametrize(
    "beside",
    [
        {"usage": {"prompt_tokens": 12.0, "completion_tokens": "many", "cost": None}},
        {"usage": {"prompt_tokens": 3, "prompt_tokens_details": []}},
        {"usage": {"prompt_tokens": 10**400, "completion_tokens": -1, "cost": float("nan")}},
        {"usage": [1, 2]},
        {"usage": "none"},
        {"error": None, "error_code": 0, "object": 5, "type": None},
        {"x_groq": "yes", "message": 7, "detail": None},
        {"code": 0, "message": "Success", "usage": {"prompt_tokens": 1}},
        {"id": {}, "created": "now", "model": ["m"]},
    ],
)
async def test_a_field_beside_the_answer_is_skipped_when_it_is_odd(
    backend: OpenAIBackend, beside: dict[str, Any]
) -> None:
    both = piece({"choices": [{"delta": {"content": "hello"}}], **beside})

    heard = await hear(backend, reply(both + piece({"choices": [], **beside}) + end("stop") + DONE))

    assert heard.answer == "hello"


@pytest.mark.parametrize(
    "choice",
    [
        {"finish_reason": 1},
        {"finish_reason": ["stop"]},
        {"finish_reason": "stop", "logprobs": [float("nan")], "index": "0"},
        {"finish_reason": "stop", "usage": 4, "error": None},
    ],
)
async def test_an_odd_reason_ends_an_answer_all_the_same(backend: OpenAIBackend, choice: dict[str, Any]) -> None:
    heard = await hear(backend, reply(chunk(content="hello") + piece({"choices": [choice]})))

    assert (heard.answer, heard.finish) == ("hello", FinishReason.STOP)


async def test_a_number_of_tokens_may_be_a_float(backend: OpenAIBackend) -> None:
    used = {"prompt_tokens": 12.0, "completion_tokens": 3, "prompt_tokens_details": []}

    heard = await hear(backend, reply(chunk(content="hello") + piece({"usage": used}) + DONE))

    assert heard.usage == Usage(input=12, output=3)


@pytest.mark.parametrize(
    ("delta", "answer", "thought"),
    [
        ({"content": [{"type": "text", "text": "hello"}]}, "hello", ""),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm "}, {"type": "text", "text": "so"}]},
                    {"type": "text", "text": "hello"},
                ]
            },
            "hello",
            "hm so",
        ),
        ({"content": [{"type": "thinking", "thinking": "hm"}, "hello"]}, "hello", "hm"),
        ({"content": {"type": "output_text", "text": "hello"}}, "hello", ""),
        ({"content": [{"type": "reference", "reference_ids": [1]}, {"type": "text", "text": "hello"}]}, "hello", ""),
        ({"content": [{"type": "refusal", "refusal": "hello"}]}, "hello", ""),
        ({"content": [], "refusal": "hello"}, "hello", ""),
        ({"content": "hello", "refusal": "hello"}, "hello", ""),
        ({"content": "hello", "reasoning": {"a": 1}, "reasoning_content": 5, "tool_calls": {}}, "hello", ""),
        ({"content": "hello", "reasoning_content": None, "reasoning": "hm"}, "hello", "hm"),
    ],
)
async def test_the_parts_of_a_content_are_understood(
    backend: OpenAIBackend, delta: dict[str, Any], answer: str, thought: str
) -> None:
    heard = await hear(backend, reply(chunk(**delta) + end("stop") + DONE))

    assert (heard.answer, heard.thought) == (answer, thought)


@pytest.mark.parametrize(
    "after",
    [
        piece({"error": {"message": "cannot count the tokens"}}) + DONE,
        piece({"message": "goodbye"}) + DONE,
        raw("bye"),
        b"",
    ],
)
async def test_nothing_after_its_end_takes_an_answer_back(backend: OpenAIBackend, after: bytes) -> None:
    heard = await hear(backend, reply(chunk(content="hello") + end("stop") + after))

    assert heard.answer == "hello"


async def test_a_connection_that_breaks_after_the_end_takes_nothing_back(backend: OpenAIBackend) -> None:
    said = chunk(content="hello") + end("stop")
    cut = f"{len(said):x}\r\n".encode() + said  # and no last chunk

    heard = await hear(backend, reply(cut, more="Transfer-Encoding: chunked\r\n"))

    assert heard.answer == "hello"


async def test_a_remark_before_the_answer_is_no_failure(backend: OpenAIBackend) -> None:
    heard = await hear(backend, reply(piece({"message": "loading the model"}) + chunk(content="hello") + DONE))

    assert heard.answer == "hello"


# --- the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", FinishReason.STOP),
        ("eos", FinishReason.STOP),
        ("tool_calls", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("model_length", FinishReason.LENGTH),  # Mistral
        ("MAX_TOKENS", FinishReason.LENGTH),  # Cohere
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("content-filter", FinishReason.CONTENT_FILTER),
        ("content_filter: SAFETY", FinishReason.CONTENT_FILTER),  # Google
        ("sensitive", FinishReason.CONTENT_FILTER),  # Zhipu
    ],
)
async def test_the_end_of_an_answer_has_its_reason(backend: OpenAIBackend, reason: str, finish: FinishReason) -> None:
    heard = await hear(backend, reply(chunk(content="half") + end(reason) + DONE))

    assert (heard.answer, heard.finish) == ("half", finish)


@pytest.mark.parametrize("reason", ["error", "ERROR", "network_error", "insufficient_system_resource", "abort"])
async def test_an_answer_that_the_server_broke_off_is_a_failure(backend: OpenAIBackend, reason: str) -> None:
    with pytest.raises(AgentError, match=f"broke off the answer: {reason.lower()}"):
        await hear(backend, reply(chunk(content="half") + end(reason) + DONE))


async def test_a_text_null_is_no_reason(backend: OpenAIBackend) -> None:
    with pytest.raises(AgentError, match="before it was complete"):
        await hear(backend, reply(piece({"choices": [{"delta": {"content": "half"}, "finish_reason": "null"}]})))


@pytest.mark.parametrize("frame", ['{"text": %s}', "[%s]"])
async def test_a_content_nested_too_deeply_is_an_error_that_says_so(backend: OpenAIBackend, frame: str) -> None:
    content = '"x"'
    for _ in range(400):
        content = frame % content

    with pytest.raises(AgentError, match="nested too deeply"):
        await hear(backend, reply(b'data: {"choices": [{"delta": {"content": [' + content.encode() + b"]}}]}\n\n"))
