"""Makes JSON answers: whole ones, and long lists that are written piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

#: bytes of a list that are kept in memory: a longer one is written in pieces of this size
MAX_LIST_PIECE_BYTES = 256 << 10
_encode = msgspec.json.Encoder().encode


def json_response(
    body: Struct | dict[str, Any] | list[Any], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a response with this JSON body."""
    return web.Response(status=status, body=_encode(body), content_type="application/json", headers=headers)


async def send_list(
    request: web.Request,
    entries: AsyncGenerator[Struct, None],
    *,
    headers: dict[str, str],
    begin: bytes = b"[",
    end: bytes = b"]",
) -> web.StreamResponse:
    """Answer with a JSON list, of which only a piece is in memory; a short one is a plain response.

    Args:
        entries: they are closed at the end.
        begin: what stands before the first entry.
        end: what stands after the last one.
    """
    piece, separator = bytearray(begin), b""
    response: web.StreamResponse | None = None
    async with aclosing(entries):
        async for entry in entries:
            piece += separator + _encode(entry)
            separator = b","
            if len(piece) < MAX_LIST_PIECE_BYTES:
                continue
            if response is None:
                response = web.StreamResponse(headers={**headers, hdrs.CONTENT_TYPE: "application/json"})
                await response.prepare(request)
                if request.method == hdrs.METH_HEAD:
                    return response
            await response.write(bytes(piece))
            piece.clear()
    piece += end
    if response is None:
        return web.Response(body=bytes(piece), content_type="application/json", headers=headers)
    await response.write_eof(bytes(piece))
    return response
