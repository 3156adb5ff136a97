"""Reads the files that an agent shows to people: pictures, sounds and embedded resources in its messages.

Of the results of tools, only the pictures that Codex has generated count: most other pictures there are what a tool has
read for the model, such as a file or a page of a browser. A `resource_link` is no file: its file is where it was.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from acp.schema import (
    AudioContentBlock,
    BlobResourceContents,
    EmbeddedResourceContentBlock,
    ImageContentBlock,
    TextResourceContents,
)

from gateway.backends.acp.tool_calls import AnyCall
from gateway.domain.event import Log
from gateway.domain.ports.backend import NewFile

#: the title of the calls with which Codex generates pictures, in both of its adapters
_GENERATION_TITLE = "Image generation"


class MadeFiles:
    """The files of one turn. One without a name gets a number."""

    def __init__(self) -> None:
        self._unnamed = 0

    def read_block(self, block: Any) -> Iterator[NewFile | Log]:
        """Yield the file in a block of a message, or what is wrong with it; nothing if it is not a file."""
        match block:
            case ImageContentBlock(data=data, mime_type=kind):
                yield self._decode_file("image", kind, block.uri, data)
            case AudioContentBlock(data=data, mime_type=kind):
                yield self._decode_file("audio", kind, None, data)
            case EmbeddedResourceContentBlock(resource=BlobResourceContents(blob=data) as resource):
                yield self._decode_file("file", resource.mime_type, resource.uri, data)
            case EmbeddedResourceContentBlock(resource=TextResourceContents(text=text) as resource):
                name = self._choose_name("file", resource.mime_type or "text/plain", resource.uri)
                yield NewFile(name=name, media_type=resource.mime_type or "", content=text.encode("utf-8", "replace"))

    def read_call(self, title: str, told: AnyCall) -> Iterator[NewFile | Log]:
        """Yield the pictures that a tool call has generated.

        Args:
            title: of the call; empty if it has ended before.
        """
        if title == _GENERATION_TITLE and told.status == "completed":
            for part in told.content or ():
                if isinstance(block := getattr(part, "content", None), ImageContentBlock):
                    yield from self.read_block(block)

    def _decode_file(self, what: str, kind: str | None, uri: str | None, data: str) -> NewFile | Log:
        name = self._choose_name(what, kind or "", uri)
        try:
            content = base64.b64decode("".join(data.split()), validate=True)
        except (binascii.Error, ValueError):
            return Log(level="warning", message=f"the file {name!r} of the agent is left out: it is not base64.")
        if not content:
            return Log(level="warning", message=f"the file {name!r} of the agent is left out: it is empty.")
        return NewFile(name=name, media_type=kind or "", content=content)

    def _choose_name(self, what: str, kind: str, uri: str | None) -> str:
        """Return the last part of the file's address, or else what it is, with a number."""
        if named := _find_name(uri or ""):
            return named
        self._unnamed += 1
        return f"{what}-{self._unnamed}{mimetypes.guess_extension(kind) or ''}"


def _find_name(uri: str) -> str:
    """Return the last part of a URI's path; of a data URL, and of what is no URI, nothing."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return ""
    return "" if parts.scheme == "data" else unquote(parts.path).rstrip("/").rpartition("/")[2]
