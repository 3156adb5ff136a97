"""What travels between an MCP client and the gateway: JSON-RPC messages.

Format: https://www.jsonrpc.org/specification.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.errors import GatewayError, InvalidRequest

#: codes of errors that come before the protocol: not a valid message, and everything else
INVALID, REFUSED = -32600, -32000


class Message(Struct, frozen=True, kw_only=True):
    """A request, or without an id a notification, which nobody answers."""

    jsonrpc: Literal["2.0"]
    method: Annotated[str, Meta(min_length=1, max_length=128)]
    id: Annotated[str, Meta(max_length=256)] | int | UnsetType = UNSET
    params: dict[str, Any] | UnsetType = UNSET


class McpComplaint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    code: int
    message: str
    data: Any = None


class McpAnswer(Struct, frozen=True, kw_only=True):
    """What a request comes to: a result, or what went wrong."""

    id: str | int
    result: dict[str, Any] | UnsetType = UNSET
    error: McpComplaint | UnsetType = UNSET
    jsonrpc: Literal["2.0"] = "2.0"


class McpError(Struct, frozen=True, kw_only=True):
    """Why a message was not taken; there is no telling which one it was."""

    error: McpComplaint
    id: None = None
    jsonrpc: Literal["2.0"] = "2.0"


class NotInstalled(GatewayError):
    """MCP is not installed beside this gateway."""

    code, status = "NOT_INSTALLED", 501


def complain(error: GatewayError) -> McpError:
    """Return an error in JSON-RPC's shape, with the gateway's own code as its data."""
    number = INVALID if isinstance(error, InvalidRequest) else REFUSED
    return McpError(error=McpComplaint(code=number, message=str(error), data={"code": error.code, **error.details}))
