"""An answer that is a file: it never changes, and a client that takes nothing of it is noticed.

aiohttp hands a file to the system, which sends it past the transport: nothing tells how much the client has taken. So
the file is sent in pieces, each with a deadline. Checked with aiohttp 3.14; see the version pin.
"""

from __future__ import annotations

import asyncio
import re
from typing import IO, Any

from aiohttp import ETag, hdrs, web
from aiohttp.abc import AbstractStreamWriter

#: bytes of the first piece, and of the largest: a client that is quick gets larger ones
FIRST_PIECE_BYTES, MAX_PIECE_BYTES = 64 * 1024, 1 << 20
_ONE_RANGE = re.compile(r"bytes=(\d+-\d*|-0*[1-9]\d*)", re.ASCII | re.IGNORECASE)
#: part of the deadline in which a quick client takes a piece
_QUICK = 0.05


class WatchedFileResponse(web.FileResponse):
    """A file; a client that takes none of it for a while is disconnected."""

    def __init__(self, *arguments: Any, etag: str, stall_seconds: float, **options: Any) -> None:
        """Args:
        etag: what tells this content from every other one. aiohttp would take its time, which is another one for the
            same content in a copy of the data.
        """
        super().__init__(*arguments, **options)
        self._etag = etag
        self._stall_seconds = stall_seconds

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if not _ONE_RANGE.fullmatch(request.headers.get(hdrs.RANGE, "bytes=0-")):
            # Several ranges, or another unit: such a header may be ignored, and the whole file is sent.
            # https://www.rfc-editor.org/rfc/rfc9110#section-14.2
            request = request.clone(headers={k: v for k, v in request.headers.items() if k != hdrs.RANGE})
        return await super().prepare(request)

    def _etag_match(self, etag_value: str, etags: tuple[ETag, ...], *, weak: bool) -> bool:  # type: ignore[override]
        return super()._etag_match(self._etag, etags, weak=weak)

    async def _start(self, request: web.BaseRequest) -> AbstractStreamWriter:
        self.headers.pop(hdrs.LAST_MODIFIED, None)
        if self.status in (200, 206, 304):
            self.etag = self._etag
        else:
            self.headers.pop(hdrs.CACHE_CONTROL, None)
        return await super()._start(request)

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
                    sent = await _send_piece(transport, writer, fobj, offset, min(piece, end - offset))
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


async def _send_piece(
    transport: asyncio.Transport, writer: AbstractStreamWriter, fobj: IO[Any], offset: int, count: int
) -> int:
    """Send a piece of a file, and return its size; 0 at the end of the file.

    The loop's own way for files that the system cannot send does not take the transport that aiohttp has here.
    """
    try:
        return await asyncio.get_running_loop().sendfile(transport, fobj, offset, count, fallback=False)
    except RuntimeError:  # the system cannot send this file, or the client is gone
        if transport.is_closing():
            raise ConnectionResetError("the client is gone") from None
    data = await asyncio.to_thread(_read_piece, fobj, offset, count)
    await writer.write(data)
    return len(data)


def _read_piece(fobj: IO[Any], offset: int, count: int) -> bytes:
    fobj.seek(offset)
    data: bytes = fobj.read(count)
    return data
