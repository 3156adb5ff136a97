"""An answer that is a file, in which a client that takes nothing is noticed.

aiohttp hands a file to the system, which sends it past the transport: nothing tells how much the client has taken. So
the file is sent in pieces, each with a deadline. Checked with aiohttp 3.14; see the version pin.
"""

from __future__ import annotations

import asyncio
from typing import IO, Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

#: bytes of the first piece, and of the largest: a client that is quick gets larger ones
FIRST_PIECE_BYTES, MAX_PIECE_BYTES = 64 * 1024, 1 << 20
#: part of the deadline in which a quick client takes a piece
_QUICK = 0.05


class WatchedFileResponse(web.FileResponse):
    """A file; a client that takes none of it for a while is disconnected."""

    def __init__(self, *arguments: Any, stall_seconds: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stall_seconds = stall_seconds

    async def _sendfile(self, request: web.BaseRequest, fobj: IO[Any], offset: int, count: int) -> AbstractStreamWriter:
        writer = await web.StreamResponse.prepare(self, request)
        assert writer is not None
        loop = asyncio.get_running_loop()
        end, piece = offset + count, FIRST_PIECE_BYTES
        while offset < end:
            transport, began = request.transport, loop.time()
            if transport is None:
                raise ConnectionResetError("the client is gone")
            try:
                async with asyncio.timeout(self._stall_seconds):
                    sent = await loop.sendfile(transport, fobj, offset, min(piece, end - offset))
            except TimeoutError:
                transport.abort()
                raise ConnectionResetError("the client takes nothing") from None
            if not sent:
                transport.abort()  # the answer cannot be as long as its header says
                raise ConnectionResetError("the file is shorter than it was")
            offset += sent
            is_quick = loop.time() - began < self._stall_seconds * _QUICK
            piece = min(2 * piece, MAX_PIECE_BYTES) if is_quick else FIRST_PIECE_BYTES
        await web.StreamResponse.write_eof(self)
        return writer
