"""Writes the body of a request. Its files are read while it is sent, so that one of them is in memory at a time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gateway.domain.file import File
from gateway.errors import AgentError
from gateway.json_data.split_json import SplitJson

#: bytes of a file that are encoded at once; a multiple of 3, so that the pieces fit together
ENCODED_BYTES = 3 << 20


ReadFile = Callable[[File], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class FileData:
    """Stands in a request for a text with the content of a file in base64."""

    file: File
    #: what comes before the content; plain ASCII without quotes
    prefix: str = ""

    @property
    def size(self) -> int:
        """The bytes of the text."""
        return len(self.prefix) + (self.file.size + 2) // 3 * 4


class RequestBody:
    """The JSON of a request, to be sent once."""

    def __init__(self, body: dict[str, Any], read_file: ReadFile) -> None:
        """Args:
        body: a JSON value that may hold `FileData`.
        read_file: returns the content of a file, or raises `AgentError`.
        """
        self._read_file = read_file
        self._json = SplitJson(body, FileData)
        #: its bytes
        self.size = self._json.frame_bytes + sum(file.size for file in self._json.texts)
        self.has_files = bool(self._json.texts)
        #: why it could not be sent to its end
        self.failure: AgentError | None = None

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body in pieces.

        Raises:
            AgentError: a file cannot be read, or has changed.
        """
        try:
            async for piece in self._json.stream(self._encode_file):
                yield piece
        except AgentError as error:
            self.failure = error
            raise

    async def _encode_file(self, data: FileData) -> AsyncGenerator[bytes, None]:
        file = data.file
        content = memoryview(await self._read_file(file))
        if len(content) != file.size:
            raise AgentError(f"the file {file.name!r} has {len(content)} bytes in place of {file.size}.")
        yield data.prefix.encode()
        for start in range(0, len(content), ENCODED_BYTES):
            yield await asyncio.to_thread(base64.b64encode, content[start : start + ENCODED_BYTES])
