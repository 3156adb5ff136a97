"""Sends one request to a server: streams the answer, or raises an error that helps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
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
from gateway.backends.openai.answer import AnswerReader
from gateway.backends.openai.failure import REMEDY_BY_STATUS, ConnectionCut, TemporaryFailure, read_error_body
from gateway.backends.openai.options import Options
from gateway.backends.openai.request_body import ReadFile, RequestBody
from gateway.domain.event import BackendEvent
from gateway.domain.ports.backend import NewFile, TurnOutput
from gateway.domain.run import FinishReason
from gateway.errors import AgentError
from gateway.security import redaction, trusted_certificates
from gateway.sse_reader import ServerSentEvent

#: seconds for a server to list its models
LIST_TIMEOUT_SECONDS = 5.0
#: bytes of an error's body and of a list of models that are read, at most
MAX_ERROR_BODY_BYTES, MAX_MODEL_LIST_BYTES = 16 * 1024, 4 * 1024 * 1024
#: bytes of what frames the text in a whole answer, at most
MAX_FRAME_BYTES = 256 << 10
#: the data of the last event of a stream
DONE_DATA = b"[DONE]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCall:
    """The request of one turn."""

    options: Options
    session: aiohttp.ClientSession
    #: URL of the proxy; None for a direct connection
    proxy: str | None
    key: str = field(repr=False)
    body: dict[str, Any]
    #: returns the content of a file in the body
    read_file: ReadFile
    #: which trace it is part of; None if it is not traced
    traceparent: str | None = None

    @property
    def request_headers(self) -> dict[str, str]:
        # No compression: a small compressed answer could unpack to any size.
        headers = {"Accept-Encoding": "identity", "User-Agent": "moongate"}
        if self.traceparent is not None:
            headers["traceparent"] = self.traceparent
        return {**headers, "Authorization": f"Bearer {self.key}"} if self.key else headers

    def build_url(self, path: str) -> str:
        return self.options.base_url.rstrip("/") + path

    def clean_message(self, text: str) -> str:
        """Return a server's text for an error message: short, and without the key."""
        return wire.shorten_line(redaction.hide_secret(text, self.key))


async def stream_answer(call: ServerCall) -> AsyncGenerator[TurnOutput, None]:
    """Ask once and stream the answer."""
    options = call.options
    body = RequestBody(
        call.body if "model" in call.body else {**call.body, "model": await find_first_model(call)}, call.read_file
    )
    timeout = aiohttp.ClientTimeout(total=None, connect=options.connect_timeout, sock_read=options.idle_timeout)
    await trusted_certificates.prepare_connection(options.base_url)
    try:
        async with call.session.post(
            call.build_url("/chat/completions"),
            data=body.stream(),
            headers={**call.request_headers, "Content-Type": "application/json", "Content-Length": str(body.size)},
            proxy=call.proxy,
            timeout=timeout,
            allow_redirects=False,  # the key must not go to another server
        ) as response:
            await _check_response(call, response, has_files=body.has_files)
            async with aclosing(_read_answer(call, response, has_files=body.has_files)) as reading:
                async for said in reading:
                    yield said
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        if body.failure is not None:
            raise body.failure from None
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
            raise ConnectionCut(f"{place} cut the connection before the answer was complete.") from None
    raise AgentError(f"{place} does not speak the protocol: {why}.") from None


async def _check_response(call: ServerCall, response: aiohttp.ClientResponse, *, has_files: bool) -> None:
    """Raise an error unless the response is a stream, or a whole answer of a server that does not stream."""
    if response.status == HTTPStatus.OK and "html" not in _read_media_type(response):
        return
    body = await _read_body(response, MAX_ERROR_BODY_BYTES)
    complaint = read_error_body(body)
    why = call.clean_message(complaint.words)
    if response.status == HTTPStatus.OK:
        raise complaint.make_error(f"the model's server did not stream an answer: {why}", has_files=has_files)
    message = f"the model's server answered {response.status}: {why or response.reason or 'no reason given'}"
    raise complaint._replace(status=response.status).make_error(
        message, retry_after=parse_retry_after(response.headers.get("Retry-After")), has_files=has_files
    )


def _read_media_type(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").lower()


async def _read_body(response: aiohttp.ClientResponse, limit: int, picture_limit: int = 0) -> bytes:
    """Read a body up to a limit of bytes, which is another one if there is a picture in what is read so far."""
    read = bytearray()
    while True:
        while len(read) < limit and (piece := await response.content.read(limit - len(read))):
            read += piece
        if len(read) < limit or limit >= picture_limit or wire.PICTURE_MARK.search(read) is None:
            return bytes(read)
        limit = picture_limit


async def _read_events(response: aiohttp.ClientResponse, max_bytes: int) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield the events of a stream; a whole answer, of a server that does not stream, is one event."""
    if _is_whole(response):
        yield ServerSentEvent(await _read_body(response, max_bytes, max_bytes + wire.MAX_PICTURE_EVENT_BYTES))
        yield ServerSentEvent(DONE_DATA)
        return
    async with aclosing(wire.read_stream_events(response.content.iter_any())) as events:
        async for event in events:
            yield event


def _is_whole(response: aiohttp.ClientResponse) -> bool:
    return "json" in _read_media_type(response)


async def _read_answer(
    call: ServerCall, response: aiohttp.ClientResponse, *, has_files: bool
) -> AsyncGenerator[TurnOutput, None]:
    """Yield the answer, what it used, and why it ended, unless it ended in the normal way."""
    options = call.options
    # JSON may write a character in two.
    max_bytes = MAX_FRAME_BYTES + 2 * options.max_output if _is_whole(response) else wire.MAX_STREAM_LINE_BYTES
    reader = AnswerReader(options.max_output, call.clean_message, max_piece_bytes=max_bytes, has_files=has_files)
    try:
        async with aclosing(_read_events(response, max_bytes)) as events:
            async for event in events:
                if event.data.strip() == DONE_DATA:
                    reader.is_finished = True
                    break
                for said in await _read_event(reader, event):
                    yield said
    except (aiohttp.ClientError, OSError, TimeoutError):
        if not reader.is_complete:  # else the server only did not end the stream
            raise
    for used in reader.take_usage():
        yield used
    if (finish := reader.end_answer()) is not FinishReason.STOP:
        yield finish


async def _read_event(reader: AnswerReader, event: ServerSentEvent) -> Sequence[BackendEvent | NewFile]:
    """Return what an event says. A large one, which holds a picture, is read in a thread."""
    if len(event.data) > wire.MAX_STREAM_LINE_BYTES:
        return await asyncio.to_thread(reader.read_event, event)
    return reader.read_event(event)


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


async def list_models(call: ServerCall) -> list[str]:
    """Return the names of the server's models."""
    await trusted_certificates.prepare_connection(call.options.base_url)
    try:
        async with call.session.get(
            call.build_url("/models"),
            headers=call.request_headers,
            proxy=call.proxy,
            timeout=aiohttp.ClientTimeout(total=LIST_TIMEOUT_SECONDS),
            allow_redirects=False,
        ) as response:
            if response.status != HTTPStatus.OK:
                raise AgentError(
                    f"the model's server answered {response.status} when asked for its models.",
                    remedy=REMEDY_BY_STATUS.get(response.status),
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
