"""Finds the files in a request to a model: pictures, documents and sounds, in the protocols of all vendors."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_DATA_URL = re.compile(r"data:([^;,]+);base64,(.+)", re.DOTALL)


class ReceivedFile(NamedTuple):
    """A file that a model got."""

    media_type: str
    content: bytes


def find_files(given: Any) -> Iterator[ReceivedFile]:
    """Yield the files in the body of a request, in their order."""
    match given:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:  # Anthropic
            yield ReceivedFile(kind, base64.b64decode(data))
        case {"mimeType": str(kind), "data": str(data)}:  # Gemini
            yield ReceivedFile(kind, base64.b64decode(data))
        case {"format": str(kind), "data": str(data)}:  # sound for OpenAI; Qwen Code writes a data URL there
            yield ReceivedFile(f"audio/{kind}", base64.b64decode(data.rpartition(",")[2]))
        case dict():
            for one in given.values():
                yield from find_files(one)
        case list():
            for one in given:
                yield from find_files(one)
        case str() if found := _DATA_URL.fullmatch(given):  # OpenAI
            yield ReceivedFile(found[1], base64.b64decode(found[2]))
