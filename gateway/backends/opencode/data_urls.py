"""Data URLs in the JSON that goes to an opencode server, and comes from it: no file in them is in memory whole.

opencode repeats the files of a prompt whenever it lists the prompt, and the pictures that its tools read.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

#: bytes of a file that are read at once; a multiple of 3, so that the pieces are one base64 text
READ_BYTES = 3 << 16
#: bytes between which the beginning of a data URL fits
MAX_URL_BEGINNING_BYTES = 200

# A quotation mark inside of a string has a backslash before it, so this cannot be in the middle of one.
_URL_BEGINNING = re.compile(rb'"ur[il]"\s?:\s?"data:[\w.+/-]{1,127};base64,')
_ENCODED_URL = re.compile(r"data:([\w.+/-]{0,127})(?:;[\w=.-]{1,60}){0,4};base64,")


class FileUrl:
    """Stands for the data URL of a local file in a body: it is written while the body is sent."""

    def __init__(self, path: Path, media_type: str, size: int) -> None:
        self.path = path
        self.media_type = media_type
        #: bytes of the file
        self.size = size

    async def read(self) -> AsyncGenerator[bytes, None]:
        """Yield the URL in pieces. Raises `OSError` if the file cannot be read."""
        yield f"data:{self.media_type};base64,".encode()
        with await asyncio.to_thread(self.path.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, READ_BYTES):
                yield base64.b64encode(piece)


class UrlCutter:
    """Cuts the content out of the data URLs of a JSON text that comes in pieces; their beginning stays."""

    def __init__(self) -> None:
        self._held = b""
        self._inside = False

    def feed(self, piece: bytes) -> bytes:
        """Return what is left of what has come so far; the last bytes wait for the next piece."""
        text, kept = self._held + piece, bytearray()
        begin = 0
        while True:
            if self._inside:
                end = text.find(b'"', begin)
                if end < 0:
                    self._held = b""
                    return bytes(kept)
                begin, self._inside = end, False
            found = _URL_BEGINNING.search(text, begin)
            if found is None:
                break
            kept += text[begin : found.end()]
            begin, self._inside = found.end(), True
        end = max(begin, len(text) - MAX_URL_BEGINNING_BYTES)
        self._held = text[end:]
        return bytes(kept + text[begin:end])

    def finish(self) -> bytes:
        """Return what has waited."""
        return self._held


class UrlContent(NamedTuple):
    media_type: str
    content: bytes


def read_data_url(url: str) -> UrlContent | None:
    """Return the content of a data URL in base64; None if it is none, or broken."""
    found = _ENCODED_URL.match(url)
    if found is None:
        return None
    try:
        return UrlContent(found[1], base64.b64decode(url[found.end() :], validate=True))
    except (binascii.Error, ValueError):
        return None
