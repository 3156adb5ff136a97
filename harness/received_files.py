"""Finds the files in a request to a model: pictures, documents and sounds, in the protocols of all vendors."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from harness.directives import count_tokens

#: tokens of a file: what Gemini counts for a small picture
FILE_TOKENS = 258

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


def count_request_tokens(given: Any) -> int:
    """Return the tokens of a request, in which a file counts as a picture and not as the letters that it is sent as."""
    files = list(find_files(given))
    letters = sum(len(base64.b64encode(file.content)) for file in files)
    return count_tokens(json.dumps(given)) - letters // 4 + FILE_TOKENS * len(files)
