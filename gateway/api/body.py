"""Reads a request's body, with limits on size and time, and parses strict JSON into the route's type."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.errors import InvalidRequest, TimedOut, TooLarge, Unavailable, UnsupportedCoding, UnsupportedMedia
from gateway.json_data import surrogates
from gateway.validation import end_sentence, explain_error

S = TypeVar("S", bound=Struct)
T = TypeVar("T")

JSON_WHITESPACE = b" \t\r\n" + codecs.BOM_UTF8
#: bytes of a streamed body that must come each second, on average
MIN_BYTES_PER_SECOND = 10_000
#: bytes of all bodies that are in memory
MAX_INCOMING_BYTES = 256 << 20
JSON_MEDIA_TYPE, FORM_MEDIA_TYPE = "application/json", "application/x-www-form-urlencoded"


class BodyLimit(NamedTuple):
    """How long a body may be, and what the receiver may change."""

    max_bytes: int
    #: the setting that limits it; None if nothing can be set
    setting: str | None


class IncomingBodies:
    """Counts the bytes of all bodies that are in memory: many large ones at once would fill it."""

    def __init__(self, max_bytes: int = MAX_INCOMING_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    def open_count(self) -> BodyCount:
        """Return a count for one body. Whoever opens it closes it."""
        return BodyCount(self._add)

    def _add(self, size: int) -> None:
        self._bytes += size
        if size > 0 and self._bytes > self._max_bytes:
            raise Unavailable("too many large requests arrive at once.", remedy="Try again.")


class BodyCount:
    """The bytes of one body, as long as it is in memory."""

    def __init__(self, add: Callable[[int], None]) -> None:
        self._add = add
        self._bytes = 0

    def count(self, size: int) -> None:
        """Count bytes that were received.

        Raises:
            Unavailable: all bodies together are too large now.
        """
        self._bytes += size
        self._add(size)

    def close(self) -> None:
        """Forget the bytes: the body is no longer needed. Closing twice is fine."""
        self._add(-self._bytes)
        self._bytes = 0


async def read_body(
    request: web.Request,
    limit: BodyLimit,
    seconds: float,
    counted: BodyCount,
    *,
    types: Collection[str] = (JSON_MEDIA_TYPE,),
) -> bytes:
    """Return the whole body.

    The unread rest of a refused body is thrown away after the answer; see `REFUSED_BODY_LINGER_SECONDS`.

    Raises:
        UnsupportedCoding: the body is encoded for its transfer.
        UnsupportedMedia: the body is not one of `types`, or it has a Content-Encoding.
        TooLarge: the body is longer than the limit.
        TimedOut: the body was not complete within `seconds`.
        Unavailable: the bodies that are being received are too large together.
        InvalidRequest: the body ended too early or is malformed.
    """
    if not request.can_read_body:
        return b""
    _check_type(request, types)
    if (request.content_length or 0) > limit.max_bytes:
        raise _too_large(limit)
    try:
        if request.content.is_eof():  # it came together with the header
            data = request.content.read_nowait()
        else:
            async with asyncio.timeout(seconds):
                data = await _receive_body(request, limit.max_bytes, counted.count)
    except TimeoutError:
        raise TimedOut(f"the body was not complete within {seconds:g} s.") from None
    except web.RequestPayloadError as error:
        raise InvalidRequest("the body does not fit its header, or ended too early.") from error
    if len(data) > limit.max_bytes:
        raise _too_large(limit)
    return data


async def _receive_body(request: web.Request, max_bytes: int, count: Callable[[int], None]) -> bytes:
    """Return the body; of one that is too large, only the beginning."""
    await begin_body(request)
    data = bytearray()
    async for chunk in request.content.iter_any():
        count(len(chunk))
        data += chunk
        if len(data) > max_bytes:
            break
    return bytes(data)


async def begin_body(request: web.Request) -> None:
    """Let a client send the body that has asked whether it may."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp does: this does not count as the start of the answer


class Pace:
    """How fast a client must send a body that is read piece by piece.

    It may pause for some seconds, and for all of it have `MIN_BYTES_PER_SECOND` longer.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun = asyncio.get_running_loop().time()
        self._received = 0

    async def receive(self, receiving: Awaitable[T]) -> T:
        """Return what the client sends next.

        Raises:
            TimedOut: the client is too slow.
            InvalidRequest: the body ended too early or is malformed.
        """
        try:
            async with asyncio.timeout(self._seconds):
                received = await receiving
        except TimeoutError:
            raise TimedOut(f"the client has sent nothing for {self._seconds:g} s.") from None
        except web.RequestPayloadError as error:
            raise InvalidRequest("the body does not fit its header, or ended too early.") from error
        if isinstance(received, (bytes, bytearray)):
            self._received += len(received)
        taken = asyncio.get_running_loop().time() - self._begun
        if taken > self._seconds + self._received / MIN_BYTES_PER_SECOND:
            raise TimedOut(f"the body comes too slowly: {self._received} bytes in {taken:.0f} s.")
        return received


async def stream_body(request: web.Request, seconds: float) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes; `Pace` says how fast it must.

    Raises:
        TimedOut: the client is too slow.
        InvalidRequest: the body ended too early or is malformed.
    """
    await begin_body(request)
    pace = Pace(seconds)
    while data := await pace.receive(request.content.readany()):
        yield data


async def defer_expect_continue(request: web.Request) -> None:
    """Do nothing with `Expect: 100-continue`: `read_body` answers it, so that a refused client sends no body."""


def _too_large(limit: BodyLimit) -> TooLarge:
    remedy = "Send less." if limit.setting is None else f"Send less, or raise {limit.setting}."
    return TooLarge(f"the body is larger than {limit.max_bytes} bytes.", remedy=remedy)


def check_coding(request: web.Request) -> None:
    """Refuse a body that is encoded: it could be any size when it is decoded.

    Raises:
        UnsupportedCoding, UnsupportedMedia: the body is encoded.
    """
    headers = request.headers
    coding = headers.get("Transfer-Encoding", "chunked")
    if coding.strip().lower() != "chunked":  # https://www.rfc-editor.org/rfc/rfc9112#section-6.1
        raise UnsupportedCoding(f"Transfer-Encoding: {coding[:64]!r} is not supported.", remedy="Send chunked alone.")
    if "Content-Encoding" in headers:
        raise UnsupportedMedia("Content-Encoding: send the body without encoding.")


def _check_type(request: web.Request, types: Collection[str]) -> None:
    check_coding(request)
    headers = request.headers
    if headers.get("Content-Type") == JSON_MEDIA_TYPE:
        return
    name, *parameters = headers.get("Content-Type", "").lower().replace(" ", "").replace('"', "").split(";")
    charsets = {word.removeprefix("charset=") for word in parameters if word.startswith("charset=")}
    if name not in types or charsets - {"utf-8", "utf8"}:
        raise UnsupportedMedia(
            f"Content-Type: send {' or '.join(types)}.", remedy='Add the header "Content-Type: application/json".'
        )


@cache
def _make_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def parse_body(data: bytes, kind: type[S]) -> S:
    """Return a body as a struct; an empty body counts as `{}`.

    What other programs get wrong in writing JSON is mended: a byte order mark, and halves of characters.

    Raises:
        InvalidRequest: it is not strict JSON, or does not fit the struct; the message names the field.
    """
    parsed: S = _decode_json(data or b"{}", _make_decoder(kind), kind)
    return parsed


def parse_body_or_batch(data: bytes, kind: type[S]) -> S | list[S]:
    """Return a body as a struct, or as a list of structs if it is a JSON array.

    Raises:
        InvalidRequest: it is not strict JSON, or an object in it does not fit the struct.
    """
    if not data.lstrip(JSON_WHITESPACE).startswith(b"["):
        return parse_body(data, kind)
    batch: list[S] = _decode_json(data, _make_decoder(list[kind]), kind)  # type: ignore[valid-type]
    return batch


def _decode_json(data: bytes, decoder: msgspec.json.Decoder[Any], kind: type[Struct]) -> Any:
    try:
        return decoder.decode(surrogates.mend_document(data))
    except msgspec.ValidationError as error:
        raise InvalidRequest(end_sentence(explain_error(error, kind, "the body"))) from error
    except UnicodeDecodeError as error:
        raise InvalidRequest("the body is not valid JSON: it is not UTF-8.") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {_first_line(error)}.") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply.") from error


def parse_query(request: web.Request, kind: type[S]) -> S:
    """Return a query string as a struct.

    Raises:
        InvalidRequest: a parameter is unknown, has a wrong value, or is given twice.
    """
    query = request.query
    flat: dict[str, Any] = dict(query)
    if len(flat) != len(query):
        raise InvalidRequest("a query parameter is given twice.")
    try:
        if not flat:
            nothing: S = _parse_empty_query(kind)
            return nothing
        for name in _list_parameters(kind) & flat.keys():
            if "," in flat[name]:
                flat[name] = flat[name].split(",")
        return msgspec.convert(flat, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(end_sentence(f"query: {explain_error(error, kind, 'the query')}")) from error


@cache
def _list_parameters(kind: type[Struct]) -> frozenset[str]:
    """Return the parameters that may have several values, with commas between them."""
    found = msgspec.inspect.type_info(kind)
    assert isinstance(found, msgspec.inspect.StructType)
    return frozenset(
        one.encode_name
        for one in found.fields
        if isinstance(one.type, msgspec.inspect.UnionType)
        and any(isinstance(choice, msgspec.inspect.ListType) for choice in one.type.types)
    )


@cache
def _parse_empty_query(kind: type[S]) -> S:
    empty: S = msgspec.convert({}, kind)
    return empty


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")[:200]
