"""Sends one request to a server: streams the answer, or raises an error that helps."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any, NoReturn

import aiohttp
import msgspec
from msgspec import Struct

from gateway.backends.openai import wire
from gateway.backends.openai.options import Options
from gateway.domain.event import Log, Said, Text, Thinking
from gateway.errors import AgentError

#: seconds for a server to list its models
LISTING = 5.0
#: bytes of an error's body and of a list of models that are read, at most
ERROR_BODY, MODELS_BODY = 16 * 1024, 4 * 1024 * 1024


class Passing(AgentError):
    """The model's server failed, but another try may succeed."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        #: seconds that the server asks to wait; None if it did not
        self.retry_after = after


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The request of one turn."""

    options: Options
    session: aiohttp.ClientSession
    key: str = field(repr=False)
    body: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        # No compression: a small compressed answer could unpack to any size.
        headers = {"Accept-Encoding": "identity", "User-Agent": "moongate"}
        return {**headers, "Authorization": f"Bearer {self.key}"} if self.key else headers

    def url(self, path: str) -> str:
        return self.options.base_url.rstrip("/") + path

    def show(self, text: str) -> str:
        """Return a server's text for an error message: short, and without the key."""
        return wire.shorten(text.replace(self.key, "…") if self.key else text)


async def answer(call: Call) -> AsyncGenerator[Said, None]:
    """Ask once and stream the answer."""
    options = call.options
    body = call.body if "model" in call.body else {**call.body, "model": await first_model(call)}
    timeout = aiohttp.ClientTimeout(total=None, connect=options.connect_timeout, sock_read=options.idle_timeout)
    try:
        async with call.session.post(
            call.url("/chat/completions"),
            json=body,
            headers=call.headers,
            timeout=timeout,
            allow_redirects=False,  # the key must not go to another server
        ) as response:
            await _check(call, response)
            async with aclosing(_read(call, response)) as reading:
                async for said in reading:
                    yield said
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        _explain(error, call)


def _explain(error: Exception, call: Call) -> NoReturn:
    """Raise the error for a failed connection. It has no cause, because that would contain the key."""
    place = call.options.base_url
    # The text of a ClientResponseError contains parts of the request; its message does not.
    why = call.show(error.message if isinstance(error, aiohttp.ClientResponseError) else str(error))
    match error:
        case aiohttp.ConnectionTimeoutError():
            raise Passing(f"{place} did not take the connection in time.") from None
        case TimeoutError():
            raise AgentError(f"{place} was silent for {call.options.idle_timeout:g} s.") from None
        case aiohttp.ClientConnectorError():
            raise Passing(f"cannot reach {place}: {why}.") from None
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            raise Passing(f"{place} cut the connection before the answer was complete.") from None
    raise AgentError(f"{place} does not speak the protocol: {why}.") from None


async def _check(call: Call, response: aiohttp.ClientResponse) -> None:
    """Raise an error unless the response is a stream."""
    kind = response.headers.get("Content-Type", "").lower()
    streaming = "json" not in kind and "html" not in kind
    if response.status == HTTPStatus.OK and streaming:
        return
    why = call.show(wire.error_text(await _body(response, ERROR_BODY)))
    if response.status == HTTPStatus.OK:
        raise AgentError(f"the model's server did not stream an answer: {why}")
    message = f"the model's server answered {response.status}: {why or response.reason or 'no reason given'}"
    if _may_pass(response.status, why):
        raise Passing(message, retry_after(response.headers.get("Retry-After")))
    raise AgentError(message, remedy=_REMEDIES.get(response.status))


_KEY = "Check `api_key`, `api_key_file` or `api_key_env`."
_REMEDIES = {401: _KEY, 403: _KEY, 404: "Check `base_url` and the model's name."}


def _may_pass(status: int, why: str) -> bool:
    if "quota" in why.lower():  # OpenAI also answers 429 for an account without credit
        return False
    return status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a body up to a limit of bytes."""
    read = bytearray()
    while len(read) < limit and (piece := await response.content.read(limit - len(read))):
        read += piece
    return bytes(read)


async def _read(call: Call, response: aiohttp.ClientResponse) -> AsyncGenerator[Said, None]:
    reading = _Reading(call)
    async with aclosing(wire.data_lines(response.content.iter_any())) as lines:
        async for data in lines:
            if data == b"[DONE]":
                reading.is_finished = True
                break
            for said in reading.take(wire.decode_chunk(data)):
                yield said
    for said in reading.end():
        yield said


class _Reading:
    """Reads the pieces of one answer."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._size = 0
        self._usage: wire.Usage | None = None
        self._reason = ""
        self._called = False
        self.is_finished = False

    def take(self, chunk: wire.Chunk) -> list[Said]:
        """Return the events of one piece of the stream.

        Raises:
            AgentError: the server reports an error, or the answer is too long.
        """
        if chunk.error:
            why = self._call.show(wire.error_text(msgspec.json.encode(chunk.error)))
            raise AgentError(f"the model's server failed in the middle of the answer: {why}")
        # Some servers send the total so far with every piece: the last one counts.
        self._usage = chunk.usage or self._usage
        said: list[Said] = []
        for choice in (chunk.choices or [])[:1]:
            if choice.finish_reason:
                self._reason, self.is_finished = choice.finish_reason, True
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
        """Return the events for the end of the stream.

        Raises:
            AgentError: the stream ended before the answer was complete.
        """
        if not self.is_finished:
            raise Passing("the model's server ended the answer before it was complete.")
        said: list[Said] = []
        if self._reason == "length":
            said.append(Log(level="warning", message="the answer was cut: it reached the limit of tokens."))
        if self._reason == "content_filter":
            said.append(Log(level="warning", message="the answer was cut by the server's content filter."))
        return [*said, self._usage.said()] if self._usage else said


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


async def models(call: Call) -> list[str]:
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
            found = msgspec.json.decode(await _body(response, MODELS_BODY), type=_Models)
    except wire.GARBAGE:
        raise AgentError("the model's server sent no list of models.") from None
    except TimeoutError:
        raise Passing(f"{call.options.base_url} did not list its models within {LISTING:g} s.") from None
    except (aiohttp.ClientError, OSError) as error:
        _explain(error, call)
    return [model.id for model in found.data]


async def first_model(call: Call) -> str:
    listed = await models(call)
    if not listed:
        raise AgentError("no model is named, and the server has none.", remedy="Set the agent's `model`.")
    return listed[0]


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
