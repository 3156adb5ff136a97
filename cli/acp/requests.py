"""The requests of an editor, as far as they are read here. Unknown fields are ignored: newer editors send more."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

from gateway.domain.file import clean_file_name
from gateway.errors import InvalidRequest

_T = TypeVar("_T")


class _Request(Struct, frozen=True, kw_only=True, rename="camel"): ...


class Initialize(_Request, frozen=True):
    protocol_version: int
    client_capabilities: dict[str, Any] | None = None

    @property
    def shows_forms(self) -> bool:
        """Whether the editor shows the questions of an agent as a form."""
        offered = (self.client_capabilities or {}).get("elicitation")
        return isinstance(offered, dict) and isinstance(offered.get("form"), dict)


class NewSession(_Request, frozen=True):
    cwd: str
    mcp_servers: list[dict[str, Any]] | None = None


class OpenSession(_Request, frozen=True):
    """Of `session/load` and `session/resume`."""

    session_id: str


class ListSessions(_Request, frozen=True):
    cwd: str | None = None
    cursor: str | None = None


class SetMode(_Request, frozen=True):
    session_id: str
    mode_id: str


class SetOption(_Request, frozen=True):
    session_id: str
    config_id: str
    value: str


class ContentBlock(_Request, frozen=True):
    type: str
    text: str | None = None
    #: of a picture or sound, in base64
    data: str | None = None
    mime_type: str | None = None
    uri: str | None = None
    name: str | None = None
    resource: dict[str, Any] | None = None


class PromptContent(NamedTuple):
    """What a prompt says, as the HTTP API takes it."""

    text: str
    #: entries of `attachments`
    attachments: list[dict[str, str]]


class Prompt(_Request, frozen=True):
    session_id: str
    prompt: list[ContentBlock]


class Cancel(_Request, frozen=True):
    session_id: str


class CancelRequest(_Request, frozen=True):
    request_id: int | str


def parse_params(params: object, type_: type[_T]) -> _T:
    """Return the parameters of a request.

    Raises:
        InvalidRequest: they do not have the form of the protocol.
    """
    try:
        return msgspec.convert(params, type_)
    except (msgspec.ValidationError, UnicodeError) as error:  # a name may be half of a surrogate pair
        raise InvalidRequest(f"the parameters are not those of the protocol: {error}.") from error


def read_prompt(blocks: Iterable[ContentBlock]) -> PromptContent:
    """Return the text of a prompt, and its files.

    A link becomes its address; an embedded file becomes its text below its address. A picture, sound or other file is
    attached, and its name stands in the text.

    Raises:
        InvalidRequest: it has something else, or nothing.
    """
    words: list[str] = []
    attachments: list[dict[str, str]] = []
    for block in blocks:
        file = _read_file(block, len(attachments) + 1)
        if file is None:
            words.append(_read_text(block))
        else:
            attachments.append(file)
            words.append(f" [{file['name']}] ")
    text = "".join(words).strip()
    if not text:
        raise InvalidRequest("the prompt is empty.")
    return PromptContent(text, attachments)


def _read_text(block: ContentBlock) -> str:
    if block.type == "text" and block.text is not None:
        return block.text
    if block.type == "resource_link" and block.uri is not None:
        return f" {block.uri} "
    if block.type == "resource" and block.resource is not None and isinstance(block.resource.get("text"), str):
        return f"\n\n{block.resource.get('uri', '')}\n```\n{block.resource['text']}\n```\n\n"
    raise InvalidRequest(
        f"the prompt has content of the type {block.type[:64]!r}, which agents are not sent.",
        remedy="Send text, pictures or sound, or mention a file.",
    )


def _read_file(block: ContentBlock, number: int) -> dict[str, str] | None:
    """Return a block as an attachment; None if it is none.

    Args:
        number: of the attachment, for the name of one that has none.
    """
    if block.type in ("image", "audio") and block.data is not None:
        data, media_type, uri = block.data, block.mime_type or "", block.uri or ""
    elif block.type == "resource" and block.resource is not None and isinstance(block.resource.get("blob"), str):
        data = block.resource["blob"]
        media_type, uri = str(block.resource.get("mimeType") or ""), str(block.resource.get("uri") or "")
    else:
        return None
    kind = block.type if block.type in ("image", "audio") else "file"
    name = _read_file_name(uri) or f"{kind}-{number}{mimetypes.guess_extension(media_type) or ''}"
    return {"name": name, "media_type": media_type, "data": data}


def _read_file_name(uri: str) -> str:
    """Return the name of the file that an address leads to; empty if it tells none."""
    try:
        path = urlsplit(uri).path
    except ValueError:
        return ""
    name = unquote(path.rpartition("/")[2])
    return clean_file_name(name) if name else ""
