"""The requests of an editor, as far as they are read here. Unknown fields are ignored: newer editors send more."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

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
    uri: str | None = None
    name: str | None = None
    resource: dict[str, Any] | None = None


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


def read_prompt(blocks: list[ContentBlock]) -> str:
    """Return the text of a prompt. A link becomes its address; an embedded file becomes its text below its address.

    Raises:
        InvalidRequest: it has something else than text, or nothing.
    """
    text = "".join(_read_block(block) for block in blocks).strip()
    if not text:
        raise InvalidRequest("the prompt is empty.")
    return text


def _read_block(block: ContentBlock) -> str:
    if block.type == "text" and block.text is not None:
        return block.text
    if block.type == "resource_link" and block.uri is not None:
        return f" {block.uri} "
    if block.type == "resource" and block.resource is not None and isinstance(block.resource.get("text"), str):
        return f"\n\n{block.resource.get('uri', '')}\n```\n{block.resource['text']}\n```\n\n"
    raise InvalidRequest(
        f"the prompt has content of the type {block.type[:64]!r}, which agents are not sent.",
        remedy="Send text, or mention a file.",
    )
