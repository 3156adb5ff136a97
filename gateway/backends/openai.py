"""Any OpenAI-compatible server as an agent: a conversation with a model, and no tools.

    {"id": "main", "backend": "openai", "base_url": "http://127.0.0.1:11434/v1", "model": "qwen3:4b"}

The session's transcript goes along with every turn, as much of its end as `context_tokens` holds.
Where no model is named the server's first one is used. A request that fails in a way that may pass
(429, 5xx, no connection) is tried again, but only while nothing of the answer has been seen.
"""

from __future__ import annotations

import asyncio
import http.client
import random
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from time import time
from typing import Annotated, Any, NoReturn

import aiohttp
import msgspec
from msgspec import Meta, Struct

from gateway.backends import BackendType, Tools
from gateway.backends import _openai_wire as wire
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Said, Text, Thinking
from gateway.domain.ports import Health, Turn
from gateway.errors import AgentError, ConfigError, GatewayError

#: where OpenAI itself is
OPENAI = "https://api.openai.com/v1"
#: the model that is asked there when none is named; other servers are asked what they have
OPENAI_MODEL = "gpt-4o-mini"
#: where Ollama listens by default
OLLAMA = ("127.0.0.1", 11434)
#: seconds to find out whether it does, and then what it has
PROBE, TAGS = 0.2, 1.0
#: seconds for a server to list its models
LISTING = 5.0
#: seconds that a server can make us wait by Retry-After, at most
LONGEST_WAIT = 60.0
#: bytes that are read of an error's body, and of a list of models
ERROR_BODY, MODELS_BODY = 16 * 1024, 4 * 1024 * 1024
#: bytes of a file with a key
KEY_FILE = 4096


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of an openai agent."""

    #: URL of the server, up to and without `/chat/completions`
    base_url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$(?!\n)")] = OPENAI
    #: the key itself; wins over the two below
    api_key: str | None = None
    #: file whose first line is the key; wins over the one below
    api_key_file: str | None = None
    #: name of a variable in the gateway's environment that holds the key; null sends none
    api_key_env: str | None = "OPENAI_API_KEY"
    #: how freely the model chooses its words; the server's own default if not set
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    #: tokens of one answer, at most
    max_tokens: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    #: tokens of system prompt, transcript and input together, reckoned at four characters each
    context_tokens: Annotated[int, Meta(ge=256, le=100_000_000)] = 32_000
    #: whether to ask for the usage; false for a server that refuses `stream_options`
    usage: bool = True
    #: how often a request is tried again
    retries: Annotated[int, Meta(ge=0, le=10)] = 3
    #: seconds before the first retry; doubled for each further one
    retry_delay: Annotated[float, Meta(ge=0, le=60)] = 0.5
    #: seconds for a connection to be made
    connect_timeout: Annotated[float, Meta(gt=0, le=600)] = 10.0
    #: seconds that the server may be silent, before the answer and in it
    idle_timeout: Annotated[float, Meta(gt=0, le=86_400)] = 300.0
    #: bytes of one answer, reasoning included
    max_output: Annotated[int, Meta(ge=1, le=1 << 40)] = 8 * 1024 * 1024
    #: take proxies from the gateway's environment
    trust_env: bool = False


class _Passing(AgentError):
    """The model's server failed in a way that may pass."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        #: seconds that the server asked to wait
        self.after = after


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """What one turn asks of the server."""

    options: Options
    session: aiohttp.ClientSession
    key: str = field(repr=False)
    body: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        # Compressed answers could grow without bounds while they are unpacked.
        headers = {"Accept-Encoding": "identity", "User-Agent": "moongate"}
        return {**headers, "Authorization": f"Bearer {self.key}"} if self.key else headers

    def url(self, path: str) -> str:
        return self.options.base_url.rstrip("/") + path

    def show(self, text: str) -> str:
        """Return what a server said, fit for an error message: short, and never with the key."""
        return wire.shorten(text.replace(self.key, "…") if self.key else text)


class OpenAI:
    """Asks servers; holds the connections to them."""

    def __init__(self, tools: Tools) -> None:
        self._environ = tools.environ
        self._stack = AsyncExitStack()
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> OpenAI:
        for trust_env in (False, True):
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the engine limits how many runs there are
                trust_env=trust_env,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self._sessions[trust_env] = await self._stack.enter_async_context(session)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def health(self, agent: Agent) -> Health:
        options: Options = agent.options
        try:
            async with asyncio.timeout(LISTING):
                models = await _models(self._call(options, {}))
        except (GatewayError, TimeoutError) as error:
            return Health(ok=False, detail=f"{options.base_url}: {str(error) or 'no answer'}")
        return Health(ok=True, detail=f"{options.base_url} ({len(models)} models)")

    async def prompt(self, turn: Turn) -> AsyncGenerator[Said, None]:
        options: Options = turn.agent.options
        call = self._call(options, await _request(turn))
        for attempt in range(options.retries + 1):
            spoken = False
            try:
                async with aclosing(_answer(call)) as answer:
                    async for said in answer:
                        spoken = True
                        yield said
                return
            except _Passing as error:
                if spoken or attempt == options.retries:
                    raise
                pause = backoff(attempt, options.retry_delay, error.after)
                yield Log(level="warning", message=f"{error} Trying again in {pause:.1f} s.")
            await asyncio.sleep(pause)

    def _call(self, options: Options, body: dict[str, Any]) -> _Call:
        key = find_key(options, self._environ)
        return _Call(options=options, session=self._sessions[options.trust_env], key=key, body=body)


def find_key(options: Options, environ: Mapping[str, str]) -> str:
    """Return the key to use, or "" for none.

    Raises:
        AgentError: it cannot be read, or cannot be a key.
    """
    key = options.api_key or ""
    if not key and options.api_key_file:
        key = _read_key(Path(options.api_key_file).expanduser())
    elif not key and options.api_key_env:
        key = environ.get(options.api_key_env, "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise AgentError("the API key has spaces or other characters that no key has.")
    return key


def _read_key(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            lines = opened.read(KEY_FILE).splitlines()
    except OSError as error:
        raise AgentError(f"cannot read the API key: {error}.") from error
    key = lines[0].decode("latin-1").strip() if lines else ""
    if not key:
        raise AgentError(f"cannot read the API key: the first line of {str(file)!r} is empty.")
    return key


async def _request(turn: Turn) -> dict[str, Any]:
    """Return the body to send; without a `model` when none is named."""
    options: Options = turn.agent.options
    said = await turn.history()
    body: dict[str, Any] = {
        "messages": wire.context(turn.agent.system_prompt, said, turn.input, options.context_tokens),
        "stream": True,
    }
    # OpenAI's newer models refuse the old name; other servers may not know the new one.
    limit = "max_completion_tokens" if options.base_url.rstrip("/") == OPENAI else "max_tokens"
    wanted = {
        "model": turn.model or turn.agent.model,
        "temperature": options.temperature,
        limit: options.max_tokens,
        "stream_options": {"include_usage": True} if options.usage else None,
    }
    return body | {name: value for name, value in wanted.items() if value is not None}


# --- one request ------------------------------------------------------------------------------


async def _answer(call: _Call) -> AsyncGenerator[Said, None]:
    """Ask once, and yield the answer as it comes."""
    options = call.options
    body = call.body if "model" in call.body else {**call.body, "model": await _first_model(call)}
    timeout = aiohttp.ClientTimeout(total=None, connect=options.connect_timeout, sock_read=options.idle_timeout)
    try:
        async with call.session.post(
            call.url("/chat/completions"),
            json=body,
            headers=call.headers,
            timeout=timeout,
            allow_redirects=False,  # the key is for this server alone
        ) as response:
            await _check(call, response)
            async with aclosing(_read(call, response)) as reading:
                async for said in reading:
                    yield said
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        _explain(error, call)


def _explain(error: Exception, call: _Call) -> NoReturn:
    """Raise what a failed connection means. The cause is left out: its parts hold the key."""
    place = call.options.base_url
    # The text of a ClientResponseError has parts of the request in it; its message has not.
    why = call.show(error.message if isinstance(error, aiohttp.ClientResponseError) else str(error))
    match error:
        case aiohttp.ConnectionTimeoutError():
            raise _Passing(f"{place} did not take the connection in time.") from None
        case TimeoutError():
            raise AgentError(f"{place} was silent for {call.options.idle_timeout:g} s.") from None
        case aiohttp.ClientConnectorError():
            raise _Passing(f"cannot reach {place}: {why}.") from None
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            raise _Passing(f"{place} cut the connection before the answer was complete.") from None
    raise AgentError(f"{place} does not speak the protocol: {why}.") from None


async def _check(call: _Call, response: aiohttp.ClientResponse) -> None:
    """Raise unless a stream follows."""
    kind = response.headers.get("Content-Type", "").lower()
    streaming = "json" not in kind and "html" not in kind
    if response.status == HTTPStatus.OK and streaming:
        return
    why = call.show(wire.error_text(await _body(response, ERROR_BODY)))
    if response.status == HTTPStatus.OK:
        raise AgentError(f"the model's server did not stream an answer: {why}")
    message = f"the model's server answered {response.status}: {why or response.reason or 'no reason given'}"
    if _may_pass(response.status, why):
        raise _Passing(message, retry_after(response.headers.get("Retry-After")))
    raise AgentError(message, remedy=_REMEDIES.get(response.status))


_KEY = "Check `api_key`, `api_key_file` or `api_key_env`."
_REMEDIES = {401: _KEY, 403: _KEY, 404: "Check `base_url` and the model's name."}


def _may_pass(status: int, why: str) -> bool:
    if "quota" in why.lower():  # OpenAI says 429 for an account without money, too
        return False
    return status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read so much of a body, and no more."""
    read = bytearray()
    while len(read) < limit and (piece := await response.content.read(limit - len(read))):
        read += piece
    return bytes(read)


async def _read(call: _Call, response: aiohttp.ClientResponse) -> AsyncGenerator[Said, None]:
    reading = _Reading(call)
    async with aclosing(wire.data_lines(response.content.iter_any())) as lines:
        async for data in lines:
            if data == b"[DONE]":
                reading.finished = True
                break
            for said in reading.take(wire.decode_chunk(data)):
                yield said
    for said in reading.end():
        yield said


class _Reading:
    """What has been read of one answer."""

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._size = 0
        self._usage: wire.Usage | None = None
        self._reason = ""
        self._called = False
        self.finished = False

    def take(self, chunk: wire.Chunk) -> list[Said]:
        """Return what a piece of the stream says.

        Raises:
            AgentError: the server reports an error, or the answer is too long.
        """
        if chunk.error:
            why = self._call.show(wire.error_text(msgspec.json.encode(chunk.error)))
            raise AgentError(f"the model's server failed in the middle: {why}")
        # Some servers send the sum so far with every piece: the last one counts.
        self._usage = chunk.usage or self._usage
        said: list[Said] = []
        for choice in (chunk.choices or [])[:1]:
            if choice.finish_reason:
                self._reason, self.finished = choice.finish_reason, True
            said += self._delta(choice.delta or wire.Delta())
        return said

    def _delta(self, delta: wire.Delta) -> list[Said]:
        said: list[Said] = []
        if thought := delta.reasoning_content or delta.reasoning:
            said.append(Thinking(delta=thought))
        if piece := delta.content or delta.refusal:
            said.append(Text(delta=piece))
        if delta.tool_calls and not self._called:
            self._called = True
            said.append(Log(level="warning", message="the model called a tool; this agent has none."))
        self._size += sum(len(part.encode()) for part in (thought, piece) if part)
        if self._size > self._call.options.max_output:
            raise AgentError(f"the model's answer is longer than {self._call.options.max_output} bytes.")
        return said

    def end(self) -> list[Said]:
        """Return what is left to say at the end of the stream.

        Raises:
            AgentError: the end came too early.
        """
        if not self.finished:
            raise _Passing("the model's server ended the answer before it was complete.")
        said: list[Said] = []
        if self._reason == "length":
            said.append(Log(level="warning", message="the answer was cut: it reached the limit of tokens."))
        if self._reason == "content_filter":
            said.append(Log(level="warning", message="the answer was cut by the server's content filter."))
        return [*said, self._usage.said()] if self._usage else said


# --- waiting ----------------------------------------------------------------------------------


def backoff(attempt: int, first: float, asked: float | None) -> float:
    """Return the seconds to wait after an attempt, counted from 0: what the server asked, or a growing time.

    A random part of up to a half keeps many clients from coming back at once.
    """
    wait = min(first * 2.0**attempt, LONGEST_WAIT) * random.uniform(0.5, 1.0)  # noqa: S311
    return max(wait, min(asked or 0.0, LONGEST_WAIT))


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3): a number or a date."""
    if value is None:
        return None
    try:
        return max(
            0.0, float(value) if value.strip().isdecimal() else parsedate_to_datetime(value).timestamp() - time()
        )
    except ValueError:
        return None


# --- models, and what is there ----------------------------------------------------------------


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


async def _models(call: _Call) -> list[str]:
    """Return the names of the server's models."""
    try:
        async with call.session.get(
            call.url("/models"),
            headers=call.headers,
            timeout=aiohttp.ClientTimeout(total=LISTING),
            allow_redirects=False,
        ) as response:
            if response.status != HTTPStatus.OK:
                raise AgentError(
                    f"the model's server answered {response.status} when asked for its models.",
                    remedy=_REMEDIES.get(response.status),
                )
            listed = msgspec.json.decode(await _body(response, MODELS_BODY), type=_Models)
    except wire.GARBAGE:
        raise AgentError("the model's server sent no list of models.") from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        _explain(error, call)
    return [model.id for model in listed.data]


async def _first_model(call: _Call) -> str:
    models = await _models(call)
    if not models:
        raise AgentError("no model is named, and the server has none.", remedy="Set the agent's `model`.")
    return models[0]


def detect(environ: Mapping[str, str]) -> Agent | None:
    """Look for a server: the one that the environment names, or a local Ollama."""
    base_url, key = environ.get("OPENAI_BASE_URL"), environ.get("OPENAI_API_KEY")
    if base_url or key:
        model = environ.get("OPENAI_MODEL") or (None if base_url else OPENAI_MODEL)
        return _agent(base_url or OPENAI, model)
    model = _ollama_model()
    return _agent("http://{}:{}/v1".format(*OLLAMA), model) if model else None


def _agent(base_url: str, model: str | None) -> Agent:
    try:
        options = msgspec.convert({"base_url": base_url}, Options)
        found = {"id": "main", "backend": "openai", "model": model}
        return msgspec.structs.replace(msgspec.convert(found, Agent), options=options)
    except msgspec.ValidationError as error:
        raise ConfigError(f"OPENAI_BASE_URL or OPENAI_MODEL: {error}.") from error


class _Tag(Struct):
    name: str


class _Tags(Struct):
    models: list[_Tag]


def _ollama_model() -> str | None:
    """Return the first model of a local Ollama; None where there is no such thing."""
    connection = http.client.HTTPConnection(*OLLAMA, timeout=PROBE)
    try:
        connection.connect()
        connection.sock.settimeout(TAGS)
        connection.request("GET", "/api/tags")
        listed = msgspec.json.decode(connection.getresponse().read(MODELS_BODY), type=_Tags)
    except (OSError, http.client.HTTPException, *wire.GARBAGE):
        return None
    finally:
        connection.close()
    return listed.models[0].name if listed.models else None


BACKEND = BackendType(options=Options, open=OpenAI, detect=detect, rank=30)
