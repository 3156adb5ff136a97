"""Any OpenAI-compatible server as an agent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import msgspec
import pytest

from gateway import config
from gateway.backends import BackendResources
from gateway.backends.openai import backend as openai
from gateway.backends.openai import client, detection
from gateway.backends.openai.backend import OpenAIBackend
from gateway.backends.openai.context import build_context
from gateway.backends.openai.options import OPENAI_URL, Options, find_key
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Text, Usage
from gateway.domain.ports.backend import Turn
from gateway.errors import AgentError, ConfigError
from gateway.process.child import Children
from harness.scripted_model import ScriptedModel
from harness.waiting import until
from tests.support.fixtures import children, ledger, scripted_model
from tests.support.hurrying import Hurry
from tests.support.raw_model import chunk, reply, serve_raw_model
from tests.support.turns import Heard, exchange, listen, turn

NOTHING_SET = config.load({"MOONGATE_HOME": "/nonexistent"})

__all__ = ["children", "ledger", "scripted_model"]

GATEWAY_API_KEY = "sk-a-secret-of-the-gateway"

Ask = Callable[..., Awaitable[Heard]]


def agent(base_url: str, model: str | None = "scripted", system_prompt: str | None = None, **options: Any) -> Agent:
    wanted = {"base_url": base_url, "retry_delay": 0, **options}
    return Agent(
        id="main",
        backend="openai",
        model=model,
        system_prompt=system_prompt,
        options=msgspec.convert(wanted, Options),
    )


def build_request_of(given: Turn) -> dict[str, Any]:
    return openai.build_request(given, build_context(given, [], 1000))


@pytest.fixture
async def backend(children: Children, tmp_path: Path) -> AsyncIterator[OpenAIBackend]:
    async with OpenAIBackend(
        BackendResources(children=children, environ={"OPENAI_API_KEY": GATEWAY_API_KEY}, directory=tmp_path)
    ) as opened:
        yield opened


@pytest.fixture
def ask(backend: OpenAIBackend, scripted_model: ScriptedModel) -> Ask:
    """Ask the scripted model; options and what a turn has are given by name."""

    async def asked(text: str, heard: Heard | None = None, **given: Any) -> Heard:
        about = {name: given.pop(name) for name in ("history", "session_ref") if name in given}
        asked_for = given.pop("ask_model", None)
        who = agent(scripted_model.base_url, **given)
        return await listen(backend, turn(who, text, model=asked_for, **about), heard)

    return asked


# --- what is sent -----------------------------------------------------------------------------


async def test_a_request_carries_what_the_agent_wants(ask: Ask, scripted_model: ScriptedModel) -> None:
    await ask("hello", temperature=0.5, max_tokens=100, system_prompt="Be brief.")

    assert scripted_model.requests[0]["body"] == {
        "model": "scripted",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "max_tokens": 100,
    }
    assert scripted_model.requests[0]["headers"]["Authorization"] == f"Bearer {GATEWAY_API_KEY}"


async def test_what_is_not_set_is_not_sent(ask: Ask, scripted_model: ScriptedModel) -> None:
    await ask("hello", usage=False, api_key_env=None)

    assert scripted_model.requests[0]["body"].keys() == {"model", "messages", "stream"}
    assert "Authorization" not in scripted_model.requests[0]["headers"]


def test_openai_itself_is_given_the_limit_under_its_new_name() -> None:
    ours = build_request_of(turn(agent(OPENAI_URL, max_tokens=5), "hello"))
    other = build_request_of(turn(agent("http://127.0.0.1:1/v1", max_tokens=5), "hello"))

    assert ours["max_completion_tokens"] == other["max_tokens"] == 5
    assert "max_tokens" not in ours


async def test_a_turns_model_wins_over_the_agents(ask: Ask, scripted_model: ScriptedModel) -> None:
    await ask("hello", ask_model="scripted-b")

    assert scripted_model.requests[0]["body"]["model"] == "scripted-b"


async def test_the_servers_first_model_is_used_where_none_is_named(ask: Ask, scripted_model: ScriptedModel) -> None:
    await ask("hello", model=None)

    assert scripted_model.requests[0]["body"]["model"] == "scripted"


@pytest.mark.parametrize("text", ["-x", "$(x)", "a\0b", "é→😀\u2028", "x" * 200_000, "data: [DONE]\n\n"])
async def test_a_prompt_is_data(ask: Ask, scripted_model: ScriptedModel, text: str) -> None:
    heard = await ask(text)

    assert scripted_model.requests[0]["body"]["messages"] == [{"role": "user", "content": text}]
    assert heard.answer == "echo: " + text.strip()[-400:]


# --- the transcript ---------------------------------------------------------------------------


async def test_the_transcript_is_sent_with_the_input(ask: Ask) -> None:
    heard = await ask("[[recall]]", history=exchange("my name is Ada", "hello Ada", "r1"))

    assert heard.answer == "my name is Ada"


# --- the answer -------------------------------------------------------------------------------


async def test_the_answer_comes_in_pieces_with_its_usage(ask: Ask) -> None:
    heard = await ask("[[say one two three]]")

    assert [said.delta for said in heard.of(Text)] == ["one ", "two ", "three"]
    assert heard.usage == Usage(input=5, output=3)


async def test_reasoning_is_thinking(ask: Ask) -> None:
    heard = await ask("[[think about it]]")

    assert (heard.thought, heard.answer) == ("about it", "done thinking")


async def test_a_tool_call_in_place_of_an_answer_is_a_failure(ask: Ask, scripted_model: ScriptedModel) -> None:
    heard = Heard()
    with pytest.raises(AgentError, match="called a tool and gave no answer"):
        await ask('[[tool bash {"command": "ls"}]]', heard=heard)

    assert heard.logs == ["the model called a tool; this agent has none."]
    assert scripted_model.counters.requests == 1


async def test_closing_the_answer_closes_the_connection(backend: OpenAIBackend, scripted_model: ScriptedModel) -> None:
    who = agent(scripted_model.base_url)
    async with aclosing(backend.stream_turn(turn(who, "[[slow 1000 20]]"))) as stream:
        await anext(stream)

    await until(lambda: scripted_model.counters.disconnects, "the server noticed")
    assert (await listen(backend, turn(who, "[[say again]]"))).answer == "again"


# --- trouble ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_temporary_failure_is_tried_again(ask: Ask, status: int) -> None:
    heard = await ask(f"[[error {status} 2]]")

    assert heard.answer == "recovered"
    assert len(heard.logs) == 2
    assert f"answered {status}: scripted error {status}" in heard.logs[0]


async def test_the_number_of_retries_is_limited(ask: Ask, scripted_model: ScriptedModel) -> None:
    with pytest.raises(AgentError, match="answered 503: scripted error 503"):
        await ask("[[error 503]]", retries=2)

    assert scripted_model.counters.requests == 3


@pytest.mark.parametrize(
    ("status", "remedy"), [(400, ""), (401, "api_key"), (403, "api_key"), (404, "base_url"), (422, "")]
)
async def test_a_permanent_failure_is_not_tried_again(
    ask: Ask, scripted_model: ScriptedModel, status: int, remedy: str
) -> None:
    with pytest.raises(AgentError, match=f"answered {status}: scripted error {status}.*{remedy}"):
        await ask(f"[[error {status}]]")

    assert scripted_model.counters.requests == 1


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("midfail", "cut the connection"),
        ("stop", "before it was complete"),
        ("refuse no more money", "failed in the middle of the answer: no more money"),
        ("garbage", "cannot be read"),
        ("bytes", "cannot be read"),
        ("line 10", "an event of more than 1024 KiB"),
        ("flood 12", "longer than 8388608 bytes"),
    ],
)
async def test_trouble_in_the_middle_is_an_error_and_not_tried_again(
    ask: Ask, scripted_model: ScriptedModel, trouble: str, message: str
) -> None:
    heard = Heard()
    with pytest.raises(AgentError, match=message):
        await ask(f"[[{trouble}]]", heard=heard)

    assert heard.answer.startswith("a piece ")
    assert scripted_model.counters.requests == 1
    await until(lambda: not scripted_model.counters.active, "the server was hung up on")


async def test_a_silent_server_is_an_error(ask: Ask, scripted_model: ScriptedModel, hurry: Hurry) -> None:
    asking = asyncio.create_task(ask("[[hang]]", idle_timeout=50.0))
    await until(lambda: scripted_model.counters.requests, "it is asked")
    hurry(50)
    with pytest.raises(AgentError, match=r"was silent for 50 s"):
        await asking

    assert scripted_model.counters.requests == 1


async def test_a_server_that_falls_silent_in_the_middle_is_an_error(ask: Ask) -> None:
    heard = Heard()
    with pytest.raises(AgentError, match="was silent"):
        await ask("[[slow 2 60000]]", heard=heard, idle_timeout=0.05)


async def test_a_server_that_is_not_there_is_tried_again_and_then_named(
    backend: OpenAIBackend, closed_port: int
) -> None:
    heard = Heard()
    with pytest.raises(AgentError, match=f"cannot reach http://127.0.0.1:{closed_port}/v1"):
        await listen(backend, turn(agent(f"http://127.0.0.1:{closed_port}/v1", retries=2), "hello"), heard)

    assert [type(said) for said in heard.said] == [Log, Log]


Respond = Callable[[bytes], Awaitable[str]]


@pytest.fixture
async def raw_server() -> AsyncIterator[Respond]:
    """Start servers that answer any request with given bytes."""
    async with AsyncExitStack() as servers:

        async def start(answer: bytes) -> str:
            return (await servers.enter_async_context(serve_raw_model(answer))).base_url

        yield start


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "cut the connection"),
        (b"\x00\xff garbage \r\n\r\n", "does not speak the protocol"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000, "does not speak the protocol"),
        (reply(b"zz\r\n", more="Transfer-Encoding: chunked\r\n"), "does not speak|cut the connection"),
        (reply(b""), "before it was complete"),
        (reply(b"hello\n\n"), "before it was complete"),
        (reply(b"\x1f\x8b\x08\x00zip", more="Content-Encoding: gzip\r\n"), "before it was complete"),
        (reply(b'{"error": {"message": "no such model"}}', "application/json"), "failed: no such model"),
        (reply(b"<html><h1>Log in</h1></html>", "text/html"), "did not stream an answer: Log in"),
        (reply(b"", status="302 Found", more="Location: http://127.0.0.1:9/\r\n"), "answered 302: Found"),
        (reply(b"data: 5\n\n"), "before it was complete"),
        (reply(b'data: {"choices": 7}\n\n'), "cannot be read"),
        (reply(b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'), "cannot be read"),
        (reply(b"data: " + b"[" * 100_000 + b"\n\n"), "cannot be read"),
        (reply(b'data: {"choices": [[]]}\n\n'), "cannot be read"),
        (reply(b'data: {"choices": [{"delta": "hello"}]}\n\n'), "cannot be read"),
    ],
)
async def test_whatever_a_server_answers_is_an_agent_error(
    backend: OpenAIBackend, raw_server: Respond, answer: bytes, message: str
) -> None:
    url = await raw_server(answer)

    with pytest.raises(AgentError, match=message):
        await listen(backend, turn(agent(url, retries=0), "hello"))


@pytest.mark.parametrize(
    "body",
    [
        chunk(content="hello") + b"data: [DONE]\n\n",
        chunk(content="hello") + b"data: [DONE]",
        chunk(content="hello") + b'data: {"choices": [{"finish_reason": "stop"}]}\n\n',
        (b": ping\n\nevent: x\nid: 5\n" + chunk(content="hello") + b"data: [DONE]\n\n").replace(b"\n", b"\r\n"),
        chunk(content="hello").replace(b"data: ", b"data:") + b"data:[DONE]\n\n",
        chunk(role="assistant", content=None, tool_calls=None) + chunk(refusal="hello") + b"data: [DONE]\n\n",
        b'data: {"choices": null, "usage": null}\n\n' + chunk(content="hello") + b"data: [DONE]\n\n",
    ],
)
async def test_streams_of_other_servers_are_understood(
    backend: OpenAIBackend, raw_server: Respond, body: bytes
) -> None:
    url = await raw_server(reply(body))

    assert (await listen(backend, turn(agent(url), "hello"))).answer == "hello"


async def test_half_a_character_is_shown_as_an_unknown_one(backend: OpenAIBackend, raw_server: Respond) -> None:
    url = await raw_server(reply(chunk(content="half \ud83d of it") + b"data: [DONE]\n\n"))

    assert (await listen(backend, turn(agent(url), "hello"))).answer == "half \N{REPLACEMENT CHARACTER} of it"


async def test_the_last_usage_counts_when_there_are_several(backend: OpenAIBackend, raw_server: Respond) -> None:
    first = b'data: {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}\n\n'
    last = (
        b'data: {"usage": {"prompt_tokens": 7, "completion_tokens": 5, "cost": 0.5,'
        b' "prompt_tokens_details": {"cached_tokens": 3}}}\n\n'
    )
    url = await raw_server(reply(first + chunk(content="hello") + last + b"data: [DONE]\n\n"))

    heard = await listen(backend, turn(agent(url), "hello"))

    assert heard.of(Usage) == [Usage(input=7, output=5, cached=3, cost=0.5)]


async def test_an_exhausted_quota_is_not_tried_again(backend: OpenAIBackend, raw_server: Respond) -> None:
    url = await raw_server(reply(b'{"error": {"message": "You exceeded your quota"}}', status="429 Too Many"))
    heard = Heard()

    with pytest.raises(AgentError, match="exceeded your quota"):
        await listen(backend, turn(agent(url), "hello"), heard)

    assert heard.logs == []


# --- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        reply(
            f'{{"error": {{"message": "bad key {GATEWAY_API_KEY}!"}}}}'.encode(), "application/json", "401 Unauthorized"
        ),
        reply(f"bad key {GATEWAY_API_KEY}".encode(), "text/plain", "500 Oops"),
        reply(
            f"bad key {GATEWAY_API_KEY.replace('-', chr(92) + 'u002d')}".join(['{"error":"', '"}']).encode(),
            status="400 No",
        ),
        reply(f'{{"message": "bad key {GATEWAY_API_KEY}"}}'.encode(), "application/json"),
        reply(f'data: {{"error": "bad key {GATEWAY_API_KEY}"}}\n\n'.encode()),
        reply(b"x" * 280 + f"bad key {GATEWAY_API_KEY}".encode(), "text/plain", "403 No"),
    ],
)
async def test_the_key_is_in_no_message(backend: OpenAIBackend, raw_server: Respond, answer: bytes) -> None:
    url = await raw_server(answer)
    heard = Heard()

    with pytest.raises(AgentError) as failure:
        await listen(backend, turn(agent(url, retries=1), "hello"), heard)

    assert "bad key" in str(failure.value)
    assert "sk-a" not in str(failure.value) + "".join(heard.logs)
    assert len(str(failure.value)) < 500


async def test_a_key_is_taken_from_the_option_then_the_file_then_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-of-the-file\nsecond line\n")
    environ = {"OPENAI_API_KEY": "sk-of-openai", "MINE": " sk-of-mine\n"}

    def found(**options: Any) -> str:
        return find_key(Options(**options), environ)

    assert found(api_key="sk-given", api_key_file=str(file)) == "sk-given"
    assert found(api_key_file=str(file)) == "sk-of-the-file"
    assert found(api_key_env="MINE") == "sk-of-mine"
    assert found() == "sk-of-openai"
    assert found(api_key_env="NOT_SET") == ""
    assert found(api_key_env=None) == ""


@pytest.mark.parametrize("content", [None, b"", b"\nsk-second", b"sk-\xff\xfe", b"sk with spaces"])
def test_a_file_without_a_key_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(AgentError, match="API key") as failure:
        find_key(Options(api_key_file=str(file)), {})

    assert "sk" not in str(failure.value).replace(str(file), "")


@pytest.mark.parametrize("key", ["a\r\nX-Header: 1", "a\0", "ключ"])
def test_a_key_that_no_header_can_carry_is_an_error(key: str) -> None:
    with pytest.raises(AgentError, match="characters"):
        find_key(Options(api_key=key), {})


# --- waiting ----------------------------------------------------------------------------------


def test_retry_waits_grow_and_are_random() -> None:
    waits = [openai.compute_retry_wait(attempt, 0.5, None) for attempt in range(12) for _ in range(50)]

    assert all(0.25 <= wait <= openai.MAX_RETRY_WAIT_SECONDS for wait in waits)
    assert all(1.0 <= openai.compute_retry_wait(2, 0.5, None) <= 2.0 for _ in range(50))
    assert len(set(waits)) > 100


def test_retry_after_is_respected_up_to_a_limit() -> None:
    assert openai.compute_retry_wait(0, 0.5, 7.0) == 7.0
    assert openai.compute_retry_wait(0, 0.5, 1e9) == openai.MAX_RETRY_WAIT_SECONDS


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("3", 3.0), ("0", 0.0), (" 5 ", 5.0), ("-1", None), ("1e9", None), ("soon", None), ("nan", None)],
)
def test_retry_after_is_read_as_a_number(header: str | None, seconds: float | None) -> None:
    assert client.parse_retry_after(header) == seconds


def test_retry_after_is_read_as_a_date() -> None:
    later, past = (formatdate(time() + seconds, usegmt=True) for seconds in (30, -30))

    assert client.parse_retry_after(later) == pytest.approx(30, abs=5)
    assert client.parse_retry_after(past) == 0.0


async def test_a_wait_that_the_server_asks_for_is_logged(ask: Ask) -> None:
    heard = await ask("[[error 429 1 0]]", retry_delay=0)

    assert heard.logs[0].endswith("trying again in 0.0 s.")


# --- health and detection ---------------------------------------------------------------------


async def test_health_says_what_a_server_has(backend: OpenAIBackend, scripted_model: ScriptedModel) -> None:
    health = await backend.check_health(agent(scripted_model.base_url))

    assert health.ok
    assert "2 models" in health.detail


async def test_the_models_of_a_server_are_offered_after_a_health_check_and_others_are_not_refused(
    backend: OpenAIBackend, scripted_model: ScriptedModel
) -> None:
    asked = agent(scripted_model.base_url)
    before = backend.find_offer(asked)
    await backend.check_health(asked)
    offer = backend.find_offer(asked)

    assert before is None
    assert offer is not None
    assert [model.id for model in offer.models or ()] == ["scripted", "scripted-b"]
    assert offer.takes_model("a name that the server maps to one of them")


async def test_health_says_what_is_wrong(backend: OpenAIBackend, raw_server: Respond, closed_port: int) -> None:
    nobody = await backend.check_health(agent(f"http://127.0.0.1:{closed_port}/v1"))
    stranger = await backend.check_health(agent(await raw_server(reply(b"no", "application/json", "401 No"))))
    garbage = await backend.check_health(agent(await raw_server(reply(b'{"data": 5}', "application/json"))))

    assert (nobody.ok, stranger.ok, garbage.ok) == (False, False, False)
    assert "cannot reach" in nobody.detail
    assert "api_key" in stranger.detail
    assert "no list of models" in garbage.detail


async def test_a_server_that_does_not_list_its_models_in_time_is_not_healthy(
    backend: OpenAIBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LIST_TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        health = await backend.check_health(agent(f"http://127.0.0.1:{silent.getsockname()[1]}/v1"))

    assert not health.ok


@pytest.mark.parametrize("answer", [b'{"data": []}', b'{"models": []}'])
async def test_where_no_model_is_named_and_none_is_listed_the_turn_fails(
    backend: OpenAIBackend, raw_server: Respond, answer: bytes
) -> None:
    url = await raw_server(reply(answer, "application/json"))

    with pytest.raises(AgentError, match="model"):
        await listen(backend, turn(agent(url, model=None), "hello"))


@pytest.fixture
def no_ollama(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setattr(detection, "OLLAMA_ADDRESS", ("127.0.0.1", closed_port))


@pytest.mark.usefixtures("no_ollama")
@pytest.mark.parametrize(
    ("environ", "base_url", "model"),
    [
        ({"OPENAI_API_KEY": "k"}, OPENAI_URL, detection.DEFAULT_OPENAI_MODEL),
        ({"OPENAI_API_KEY": "k", "OPENAI_MODEL": "m"}, OPENAI_URL, "m"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "http://127.0.0.1:1/v1", None),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "a/b:c"}, "http://127.0.0.1:1/v1", "a/b:c"),
    ],
)
def test_a_server_that_the_environment_names_is_detected(
    environ: dict[str, str], base_url: str, model: str | None
) -> None:
    found = detection.find_named_agent(environ, NOTHING_SET)

    assert found
    assert (found.id, found.backend, found.model) == ("main", "openai", model)
    assert found.options == Options(base_url=base_url)


@pytest.mark.usefixtures("no_ollama")
def test_nothing_is_detected_where_there_is_nothing() -> None:
    environ = {"OPENAI_MODEL": "m", "OPENAI_API_KEY": ""}

    assert detection.find_named_agent(environ, NOTHING_SET) is None
    assert detection.detect_agent(environ, NOTHING_SET) is None


@pytest.mark.parametrize("environ", [{"OPENAI_BASE_URL": "ftp://x"}, {"OPENAI_API_KEY": "k", "OPENAI_MODEL": "--yolo"}])
def test_an_environment_that_cannot_be_used_is_a_config_error(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="OPENAI_"):
        detection.find_named_agent(environ, NOTHING_SET)


async def test_a_local_ollama_is_detected_with_its_first_model(
    monkeypatch: pytest.MonkeyPatch, scripted_model: ScriptedModel, backend: OpenAIBackend
) -> None:
    port = int(scripted_model.base_url.split(":")[2].partition("/")[0])
    monkeypatch.setattr(detection, "OLLAMA_ADDRESS", ("127.0.0.1", port))

    found = await asyncio.to_thread(detection.detect_agent, {}, NOTHING_SET)

    assert found
    assert found.model == "scripted"
    assert (await listen(backend, turn(found, "hello"))).answer == "echo: hello"


@pytest.mark.parametrize("answer", [b"", b"garbage", reply(b"{}", "application/json"), reply(b'{"models": []}')])
async def test_another_program_on_the_port_is_not_taken_for_ollama(
    monkeypatch: pytest.MonkeyPatch, raw_server: Respond, answer: bytes
) -> None:
    url = await raw_server(answer)
    monkeypatch.setattr(detection, "OLLAMA_ADDRESS", ("127.0.0.1", int(url.split(":")[2].partition("/")[0])))

    assert await asyncio.to_thread(detection.detect_agent, {}, NOTHING_SET) is None


# --- options and proxies ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "127.0.0.1:1"},
        {"base_url": "file:///etc/passwd"},
        {"base_url": "http://user:pass@127.0.0.1/v1"},
        {"base_url": "http://127.0.0.1/v1?key=x"},
        {"base_url": "http://127.0.0.1/v1\n"},
        {"temperature": 3},
        {"max_tokens": 0},
        {"context_tokens": 1},
        {"retries": 11},
        {"idle_timeout": 0},
        {"apikey": "x"},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Options)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_used_only_if_wanted(
    children: Children, scripted_model: ScriptedModel, tmp_path: Path, variable: str
) -> None:
    environ = {variable: scripted_model.base_url.removesuffix("/v1")}  # it does not mind to be asked for another host
    async with OpenAIBackend(BackendResources(children=children, environ=environ, directory=tmp_path)) as backend:
        answers = []
        for trust_env in (True, False):
            options = Options(base_url="http://model.invalid/v1", trust_env=trust_env, retries=0)
            answers.append(await backend.check_health(Agent(id="main", backend="openai", options=options)))

    assert [answer.ok for answer in answers] == [True, False]


async def test_this_machine_is_reached_without_a_proxy(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")

    assert (await ask("hello", trust_env=True)).answer == "echo: hello"
