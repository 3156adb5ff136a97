"""Writes the body of a request. Its files are read while it is sent, so that one of them is in memory at a time."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gateway.domain.file import File
from gateway.errors import AgentError

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
        self._files: list[FileData] = []
        mark = secrets.token_hex(16)

        def note_file(value: Any) -> str:
            if not isinstance(value, FileData):
                raise TypeError(f"{type(value).__name__} is no JSON value")
            self._files.append(value)
            return mark

        self._frames = json.dumps(body, default=note_file).encode().split(mark.encode())
        #: its bytes
        self.size = sum(map(len, self._frames)) + sum(file.size for file in self._files)
        self.has_files = bool(self._files)
        #: why it could not be sent to its end
        self.failure: AgentError | None = None

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the body in pieces.

        Raises:
            AgentError: a file cannot be read, or has changed.
        """
        try:
            for frame, data in zip(self._frames, self._files, strict=False):
                yield frame + data.prefix.encode()
                async for piece in self._encode_file(data.file):
                    yield piece
            yield self._frames[-1]
        except AgentError as error:
            self.failure = error
            raise

    async def _encode_file(self, file: File) -> AsyncGenerator[bytes, None]:
        content = memoryview(await self._read_file(file))
        if len(content) != file.size:
            raise AgentError(f"the file {file.name!r} has {len(content)} bytes in place of {file.size}.")
        for start in range(0, len(content), ENCODED_BYTES):
            yield await asyncio.to_thread(base64.b64encode, content[start : start + ENCODED_BYTES])
