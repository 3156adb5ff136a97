"""Reading a request's body: bounded in size and time, strict JSON, straight into the route's type."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.errors import InvalidRequest, TimedOut, TooLarge, UnsupportedMedia
from gateway.validation import explain

S = TypeVar("S", bound=Struct)

#: bytes of a refused body that are read and thrown away, so that the client gets to read the answer
DRAINED = 8 << 20


async def read(request: web.Request, limit: int, seconds: float) -> bytes:
    """Read a whole body.

    Raises:
        UnsupportedMedia: it is not JSON, or is encoded.
        TooLarge: it has more than `limit` bytes.
        TimedOut: it did not come within `seconds`.
    """
    if not request.can_read_body:
        return b""
    if "Content-Encoding" in request.headers:
        raise UnsupportedMedia("Content-Encoding: send the body as it is.")
    _check_type(request)
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, limit)
    except TimeoutError:
        raise TimedOut(f"the body did not come within {seconds:g} s.") from None
    except web.RequestPayloadError as error:
        raise InvalidRequest("the body is not what its header promised.") from error


async def _read(request: web.Request, limit: int) -> bytes:
    content = request.content
    if (request.content_length or 0) <= limit and content.is_eof():
        return content.read_nowait()
    data = bytearray()
    size = 0
    async for chunk in content.iter_any():
        size += len(chunk)
        if size <= limit:
            data += chunk
        elif size > DRAINED:
            break
    if size > limit or (request.content_length or 0) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes.", remedy="Send less, or raise limits.body.")
    return bytes(data)


def _check_type(request: web.Request) -> None:
    kind = request.headers.get("Content-Type", "").lower()
    name, _, parameters = kind.partition(";")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    if name.strip() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMedia(
            "Content-Type: send application/json.", remedy='Add the header "Content-Type: application/json".'
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
    if not query and not msgspec.structs.fields(kind):
        return kind()
    flat: dict[str, Any] = dict(query)
    if len(flat) != len(query):
        raise InvalidRequest("a query parameter is given twice.")
    try:
        return msgspec.convert(flat, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"query: {explain(error, kind, 'the query')}.") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")[:200]
