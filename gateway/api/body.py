"""Reading a request's body: bounded in size and time, strict JSON, straight into the route's type."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import cache
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.errors import InvalidRequest, TimedOut, TooLarge, UnsupportedMedia
from gateway.validation import explain

S = TypeVar("S", bound=Struct)

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


async def read(request: web.Request, limit: int, seconds: float, *, types: Collection[str] = (JSON,)) -> bytes:
    """Read a whole body of one of these types.

    What is left of a refused one is thrown away after the answer, see `connection.LINGER`.

    Raises:
        UnsupportedMedia: it is of another type, or is encoded.
        TooLarge: it has more than `limit` bytes.
        TimedOut: it did not come within `seconds`.
        InvalidRequest: it broke off.
    """
    if not request.can_read_body:
        return b""
    _check_type(request, types)
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        if request.content.is_eof():  # it came with its header
            data = request.content.read_nowait()
        else:
            async with asyncio.timeout(seconds):
                data = await _receive(request, limit)
    except TimeoutError:
        raise TimedOut(f"the body did not come within {seconds:g} s.") from None
    except web.RequestPayloadError as error:
        raise InvalidRequest("the body is not what its header promised.") from error
    if len(data) > limit:
        raise _too_large(limit)
    return data


async def _receive(request: web.Request, limit: int) -> bytes:
    """Return the body, or its beginning if that is already too large."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp does: the answer has not begun
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > limit:
            break
    return bytes(data)


async def expect(request: web.Request) -> None:
    """Leave an `Expect: 100-continue` to `read`: who is not let in need not send a body."""


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes.", remedy="Send less, or raise limits.body.")


def _check_type(request: web.Request, types: Collection[str]) -> None:
    headers = request.headers
    if "Content-Encoding" in headers:
        raise UnsupportedMedia("Content-Encoding: send the body as it is.")
    if headers.get("Content-Type") == JSON:
        return
    name, *parameters = headers.get("Content-Type", "").lower().replace(" ", "").replace('"', "").split(";")
    charsets = {word.removeprefix("charset=") for word in parameters if word.startswith("charset=")}
    if name not in types or charsets - {"utf-8", "utf8"}:
        raise UnsupportedMedia(
            f"Content-Type: send {' or '.join(types)}.", remedy='Add the header "Content-Type: application/json".'
        )


@cache
def _decoder(kind: type[S]) -> msgspec.json.Decoder[S]:
    return msgspec.json.Decoder(kind)


def parse(data: bytes, kind: type[S]) -> S:
    """Decode a body into its type; an empty one counts as `{}`.

    Raises:
        InvalidRequest: it is not strict JSON, or not of that type; the message says where.
    """
    decoder: msgspec.json.Decoder[S] = _decoder(kind)
    try:
        return decoder.decode(data or b"{}")
    except msgspec.ValidationError as error:
        raise InvalidRequest(explain(error, kind, "the body") + ".") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {_first_line(error)}.") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply.") from error


def parse_query(request: web.Request, kind: type[S]) -> S:
    """Decode a query string into its type.

    Raises:
        InvalidRequest: a parameter is unknown, unfit, or given twice.
    """
    query = request.query
    flat: dict[str, Any] = dict(query)
    if len(flat) != len(query):
        raise InvalidRequest("a query parameter is given twice.")
    try:
        if not flat:
            nothing: S = _unasked(kind)
            return nothing
        return msgspec.convert(flat, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"query: {explain(error, kind, 'the query')}.") from error


@cache
def _unasked(kind: type[S]) -> S:
    empty: S = msgspec.convert({}, kind)
    return empty


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")[:200]
