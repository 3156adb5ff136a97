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
from gateway.domain.event import BackendEvent, Log, Text, Thinking
from gateway.errors import AgentError
from gateway.security import redaction

#: seconds for a server to list its models
LIST_TIMEOUT_SECONDS = 5.0
#: bytes of an error's body and of a list of models that are read, at most
MAX_ERROR_BODY_BYTES, MAX_MODEL_LIST_BYTES = 16 * 1024, 4 * 1024 * 1024


class TemporaryFailure(AgentError):
    """The model's server failed, but another try may succeed."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        #: seconds that the server asks to wait; None if it did not
        self.retry_after = after


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCall:
    """The request of one turn."""

    options: Options
    session: aiohttp.ClientSession
    key: str = field(repr=False)
    body: dict[str, Any]

    @property
    def request_headers(self) -> dict[str, str]:
        # No compression: a small compressed answer could unpack to any size.
        headers = {"Accept-Encoding": "identity", "User-Agent": "moongate"}
        return {**headers, "Authorization": f"Bearer {self.key}"} if self.key else headers

    def build_url(self, path: str) -> str:
        return self.options.base_url.rstrip("/") + path

    def clean_message(self, text: str) -> str:
        """Return a server's text for an error message: short, and without the key."""
        return wire.shorten_line(redaction.hide_secret(text, self.key))


async def stream_answer(call: ServerCall) -> AsyncGenerator[BackendEvent, None]:
    """Ask once and stream the answer."""
    options = call.options
    body = call.body if "model" in call.body else {**call.body, "model": await find_first_model(call)}
    timeout = aiohttp.ClientTimeout(total=None, connect=options.connect_timeout, sock_read=options.idle_timeout)
    try:
        async with call.session.post(
            call.build_url("/chat/completions"),
            json=body,
            headers=call.request_headers,
            timeout=timeout,
            allow_redirects=False,  # the key must not go to another server
        ) as response:
            await _check_response(call, response)
            async with aclosing(_read_stream(call, response)) as reading:
                async for said in reading:
                    yield said
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        _raise_failure(error, call)


def _raise_failure(error: Exception, call: ServerCall) -> NoReturn:
    """Raise the error for a failed connection. It has no cause, because that would contain the key."""
    place = call.options.base_url
    # The text of a ClientResponseError contains parts of the request; its message does not.
    why = call.clean_message(error.message if isinstance(error, aiohttp.ClientResponseError) else str(error))
    match error:
        case aiohttp.ConnectionTimeoutError():
            raise TemporaryFailure(f"{place} did not take the connection in time.") from None
        case TimeoutError():
            raise AgentError(f"{place} was silent for {call.options.idle_timeout:g} s.") from None
        case aiohttp.ClientConnectorError():
            raise TemporaryFailure(f"cannot reach {place}: {why}.") from None
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            raise TemporaryFailure(f"{place} cut the connection before the answer was complete.") from None
    raise AgentError(f"{place} does not speak the protocol: {why}.") from None


async def _check_response(call: ServerCall, response: aiohttp.ClientResponse) -> None:
    """Raise an error unless the response is a stream."""
    kind = response.headers.get("Content-Type", "").lower()
    streaming = "json" not in kind and "html" not in kind
    if response.status == HTTPStatus.OK and streaming:
        return
    why = call.clean_message(wire.read_error(await _read_body(response, MAX_ERROR_BODY_BYTES)))
    if response.status == HTTPStatus.OK:
        raise AgentError(f"the model's server did not stream an answer: {why}")
    message = f"the model's server answered {response.status}: {why or response.reason or 'no reason given'}"
    if _is_temporary(response.status, why):
        raise TemporaryFailure(message, parse_retry_after(response.headers.get("Retry-After")))
    raise AgentError(message, remedy=_REMEDY_BY_STATUS.get(response.status))


_KEY_REMEDY = "Check `api_key`, `api_key_file` or `api_key_env`."
_REMEDY_BY_STATUS = {401: _KEY_REMEDY, 403: _KEY_REMEDY, 404: "Check `base_url` and the model's name."}


def _is_temporary(status: int, why: str) -> bool:
    if "quota" in why.lower():  # OpenAI also answers 429 for an account without credit
        return False
    return status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500


async def _read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a body up to a limit of bytes."""
    read = bytearray()
    while len(read) < limit and (piece := await response.content.read(limit - len(read))):
        read += piece
    return bytes(read)


async def _read_stream(call: ServerCall, response: aiohttp.ClientResponse) -> AsyncGenerator[BackendEvent, None]:
    reading = _AnswerReader(call)
    async with aclosing(wire.read_event_data(response.content.iter_any())) as lines:
        async for data in lines:
            if data == b"[DONE]":
                reading.is_finished = True
                break
            for said in reading.read_chunk(wire.decode_chunk(data)):
                yield said
    for said in reading.finish_answer():
        yield said


class _AnswerReader:
    """Reads the pieces of one answer."""

    def __init__(self, call: ServerCall) -> None:
        self._call = call
        self._size = 0
        self._usage: wire.Usage | None = None
        self._reason = ""
        self._called = False
        self.is_finished = False

    def read_chunk(self, chunk: wire.Chunk) -> list[BackendEvent]:
        """Return the events of one piece of the stream.

        Raises:
            AgentError: the server reports an error, or the answer is too long.
        """
        if chunk.error:
            why = self._call.clean_message(wire.read_error(msgspec.json.encode(chunk.error)))
            raise AgentError(f"the model's server failed in the middle of the answer: {why}")
        # Some servers send the total so far with every piece: the last one counts.
        self._usage = chunk.usage or self._usage
        said: list[BackendEvent] = []
        for choice in (chunk.choices or [])[:1]:
            if choice.finish_reason:
                self._reason, self.is_finished = choice.finish_reason, True
            said += self._read_delta(choice.delta or wire.Delta())
        return said

    def _read_delta(self, delta: wire.Delta) -> list[BackendEvent]:
        said: list[BackendEvent] = []
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

    def finish_answer(self) -> list[BackendEvent]:
        """Return the events for the end of the stream.

        Raises:
            AgentError: the stream ended before the answer was complete.
        """
        if not self.is_finished:
            raise TemporaryFailure("the model's server ended the answer before it was complete.")
        said: list[BackendEvent] = []
        if self._reason == "length":
            said.append(Log(level="warning", message="the answer was cut: it reached the limit of tokens."))
        if self._reason == "content_filter":
            said.append(Log(level="warning", message="the answer was cut by the server's content filter."))
        return [*said, self._usage.to_event()] if self._usage else said


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


async def list_models(call: ServerCall) -> list[str]:
    """Return the names of the server's models."""
    try:
        async with call.session.get(
            call.build_url("/models"),
            headers=call.request_headers,
            timeout=aiohttp.ClientTimeout(total=LIST_TIMEOUT_SECONDS),
            allow_redirects=False,
        ) as response:
            if response.status != HTTPStatus.OK:
                raise AgentError(
                    f"the model's server answered {response.status} when asked for its models.",
                    remedy=_REMEDY_BY_STATUS.get(response.status),
                )
            found = msgspec.json.decode(await _read_body(response, MAX_MODEL_LIST_BYTES), type=_Models)
    except wire.DECODE_ERRORS:
        raise AgentError("the model's server sent no list of models.") from None
    except TimeoutError:
        raise TemporaryFailure(
            f"{call.options.base_url} did not list its models within {LIST_TIMEOUT_SECONDS:g} s."
        ) from None
    except (aiohttp.ClientError, OSError) as error:
        _raise_failure(error, call)
    return [model.id for model in found.data]


async def find_first_model(call: ServerCall) -> str:
    listed = await list_models(call)
    if not listed:
        raise AgentError("no model is named, and the server has none.", remedy="Set the agent's `model`.")
    return listed[0]


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3): a number or a date."""
    if value is None:
        return None
    try:
        return max(
            0.0, float(value) if value.strip().isdecimal() else parsedate_to_datetime(value).timestamp() - time()
        )
    except ValueError:
        return None
