"""Reads the pictures of an answer, in the forms in which OpenAI-compatible servers return them.

OpenRouter and LiteLLM send them in `images`, others as parts of the content; each as a data URL in
`image_url`, or as `b64_json` as in OpenAI's API for images.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Any

from gateway.backends.openai.large_json import CutText
from gateway.domain.event import Log, Text
from gateway.domain.file import describe_size
from gateway.domain.media_type import SNIFFED_BYTES, find_media_type, guess_ending
from gateway.domain.ports.backend import NewFile
from gateway.errors import AgentError

#: pictures of one answer, and bytes of one and of all of them
MAX_PICTURES, MAX_PICTURE_BYTES, MAX_ALL_BYTES = 10, 25_000_000, 50_000_000
#: characters of all pictures that are looked at, those included that come twice
MAX_RECEIVED_CHARACTERS = 4 * MAX_ALL_BYTES
#: characters of a link to a picture
MAX_LINK_CHARACTERS = 2000
#: bytes of base64 that are decoded at once; a multiple of 4
DECODED_BYTES = 1 << 20
#: how deep in an entry its data may be
MAX_SOURCE_DEPTH = 4
#: types of the parts of a content that are pictures
_PART_TYPES = frozenset({"image_url", "image", "output_image", "input_image"})
_PICTURE_URL = re.compile(r"data:([^,;]{0,127})(;[^,;]{0,127})*;base64,", re.IGNORECASE)


class PictureReader:
    """Reads the pictures of one answer. A picture that comes twice, as in a stream and at its end, counts once."""

    def __init__(self) -> None:
        #: how many there are so far
        self.count = 0
        self._size = self._received = 0
        self._seen: set[bytes] = set()
        #: what was wrong so far; each problem is told once
        self._problems: set[str] = set()

    def read_delta(self, delta: dict[str, Any]) -> list[NewFile | Text | Log]:
        """Return the pictures in a piece of an answer, and links to those that are elsewhere.

        Raises:
            AgentError: the server does not stop sending pictures.
        """
        found: list[NewFile | Text | Log] = []
        for source in _find_sources(delta):
            self._received += _count_characters(source)
            if self._received > MAX_RECEIVED_CHARACTERS:
                raise AgentError("the model's server does not stop sending pictures.")
            try:
                found += self._read_source(source)
            except ValueError as error:
                if (problem := str(error)) not in self._problems:
                    self._problems.add(problem)
                    found.append(Log(level="warning", message=f"a picture of the model is left out: {problem}."))
        return found

    def _read_source(self, source: str | CutText) -> Iterator[NewFile | Text]:
        if isinstance(source, str) and source.startswith(("https://", "http://")):
            yield from self._read_link(source)
            return
        beginning = source if isinstance(source, str) else source.prefix
        declared = _PICTURE_URL.match(beginning)
        if declared is None and beginning[:5].lower() == "data:":
            raise ValueError("its data URL is not in base64")
        content = _decode_base64(source, declared.end() if declared else 0)
        if not self._claim(content):
            return
        if self._size + len(content) > MAX_ALL_BYTES:
            raise ValueError(f"those of an answer have at most {describe_size(MAX_ALL_BYTES)}")
        self.count, self._size = self.count + 1, self._size + len(content)
        media_type = find_media_type(declared[1] if declared else "", "", content[:SNIFFED_BYTES])
        number = f"-{self.count}" if self.count > 1 else ""
        yield NewFile(name=f"image{number}{guess_ending(media_type)}", media_type=media_type, content=content)

    def _read_link(self, link: str) -> Iterator[Text]:
        """Yield a link as text: the gateway fetches nothing that a model names."""
        if len(link) > MAX_LINK_CHARACTERS or not link.isprintable() or " " in link:
            raise ValueError("its link is none")
        if self._claim(link.encode()):
            yield Text(delta=f"\n\n{link}\n\n")

    def _claim(self, content: bytes) -> bool:
        """Count a picture or a link; return False if it was there before.

        Raises:
            ValueError: there are too many.
        """
        digest = hashlib.sha256(content).digest()
        if digest in self._seen:
            return False
        if len(self._seen) >= MAX_PICTURES:
            raise ValueError(f"an answer has at most {MAX_PICTURES}")
        self._seen.add(digest)
        return True


def _find_sources(delta: dict[str, Any]) -> Iterator[str | CutText]:
    """Yield the data URLs, links and texts in base64 of the pictures in a piece."""
    content, images = delta.get("content"), delta.get("images")
    parts = content if isinstance(content, list) else [content]
    pictures = [part for part in parts if isinstance(part, dict) and part.get("type") in _PART_TYPES]
    for entry in [*(images if isinstance(images, list) else ()), *pictures]:
        if source := _find_source(entry):
            yield source


def _find_source(entry: Any, depth: int = MAX_SOURCE_DEPTH) -> str | CutText:
    if isinstance(entry, str | CutText):
        return entry
    if not isinstance(entry, dict) or not depth:
        return ""
    names = ("b64_json", "image_url", "url", "image")
    return next((source for name in names if (source := _find_source(entry.get(name), depth - 1))), "")


def _count_characters(source: str | CutText) -> int:
    return len(source) if isinstance(source, str) else len(source.prefix) + len(source.data)


def _decode_base64(source: str | CutText, start: int) -> bytes:
    """Return what a text means from a position on.

    Raises:
        ValueError: it is not base64, empty, or too large.
    """
    if _count_characters(source) - start > MAX_PICTURE_BYTES * 4 // 3 + 1024:
        raise ValueError(f"it is larger than {describe_size(MAX_PICTURE_BYTES)}")
    try:
        content = _decode_pieces(memoryview(_get_encoded(source, start)))
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("it is not base64") from None
    if not content:
        raise ValueError("it is empty")
    return content


def _get_encoded(source: str | CutText, start: int) -> bytes | memoryview:
    if isinstance(source, str):
        return source[start:].encode("ascii")
    if start != len(source.prefix):
        raise binascii.Error
    return source.end


def _decode_pieces(encoded: memoryview) -> bytes:
    """Decode base64 in pieces, so that other threads may work in between."""
    pieces = (encoded[start : start + DECODED_BYTES] for start in range(0, len(encoded), DECODED_BYTES))
    content = b"".join([binascii.a2b_base64(piece, strict_mode=True) for piece in pieces])
    if len(content) < len(encoded) // 4 * 3 - 2:  # a piece that is not the last one ends in the middle
        raise binascii.Error
    return content
