"""The JSON-RPC messages of MCP clients and the gateway.

Format: https://www.jsonrpc.org/specification.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.errors import GatewayError, InvalidRequest

#: JSON-RPC error codes of requests that never reach the protocol: a malformed message, and everything else
INVALID_MESSAGE_CODE, REFUSED_MESSAGE_CODE = -32600, -32000


class Message(Struct, frozen=True, kw_only=True):
    """A request; without an id it is a notification, which gets no answer."""

    #: version of JSON-RPC
    jsonrpc: Literal["2.0"]
    #: what to do, such as `tools/call`
    method: Annotated[str, Meta(min_length=1, max_length=128)]
    #: chosen by the client; the answer has the same. Without it, the message is a notification, which gets no answer
    id: Annotated[str, Meta(max_length=256)] | int | UnsetType = UNSET
    #: what the method needs
    params: dict[str, Any] | UnsetType = UNSET


class McpComplaint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    #: number of the error, as in JSON-RPC
    code: int
    #: what is wrong
    message: str
    #: more about it
    data: Any = None


class McpAnswer(Struct, frozen=True, kw_only=True):
    """The answer to a request: a result or an error."""

    #: id of the request
    id: str | int
    #: what the method returns; left out if it failed
    result: dict[str, Any] | UnsetType = UNSET
    error: McpComplaint | UnsetType = UNSET
    #: version of JSON-RPC
    jsonrpc: Literal["2.0"] = "2.0"


class McpError(Struct, frozen=True, kw_only=True):
    """Why a message was refused; its id is not known."""

    error: McpComplaint
    id: None = None
    jsonrpc: Literal["2.0"] = "2.0"


class NotInstalled(GatewayError):
    """The MCP library is not installed."""

    code, status = "NOT_INSTALLED", 501


def render_mcp_error(error: GatewayError) -> McpError:
    """Return an error in JSON-RPC's shape; its data has the gateway's own code."""
    number = INVALID_MESSAGE_CODE if isinstance(error, InvalidRequest) else REFUSED_MESSAGE_CODE
    return McpError(error=McpComplaint(code=number, message=str(error), data={"code": error.code, **error.details}))
