"""What a tool is: a name, what it reads and the function that does it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from gateway.api import openapi
from gateway.api.routing import Call
from gateway.domain.event import Event, Status, Text
from gateway.domain.event import Tool as ToolUsed
from gateway.domain.token import Scope
from gateway.errors import Forbidden, InvalidRequest
from gateway.validation import explain

#: is told each event of a run that is waited for
Tell = Callable[[Event], Awaitable[None]]
_Call = Call[Any, Any]


class Tool(NamedTuple):
    """One tool."""

    name: str
    #: what the agent is told of it
    about: str
    #: what the caller's token must allow
    scope: Scope
    asks: type[Struct]
    does: Callable[[_Call, Any, Tell | None], Awaitable[Struct]]

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what it reads."""
        _, found = msgspec.json.schema_components([self.asks], ref_template="#/$defs/{name}")
        own: dict[str, Any] = openapi.plain(found.pop(self.asks.__name__))
        return {**own, "$defs": openapi.plain(found)} if found else own


class ToolTable:
    """Tools by name, in the order in which they are listed."""

    def __init__(self) -> None:
        self.by_name: dict[str, Tool] = {}

    def add(self, scope: Scope, asks: type[Struct]) -> Callable[[Any], Any]:
        """Declare the decorated function as a tool; its docstring is what the agent is told of it."""

        def declare(does: Any) -> Any:
            self.by_name[does.__name__] = Tool(does.__name__, inspect.getdoc(does) or "", scope, asks, does)
            return does

        return declare


async def perform(tool: Tool, call: _Call, given: dict[str, Any], tell: Tell | None) -> Struct:
    """Do what a tool is for.

    Raises:
        Forbidden: the caller's token does not allow it.
        InvalidRequest: what was given is not what the tool reads.
        GatewayError: it cannot be done, and why.
    """
    if not call.principal.scope.covers(tool.scope):
        raise Forbidden(f"this token has the scope {call.principal.scope}; {tool.scope} is needed.")
    try:
        asked = msgspec.convert(given, tool.asks)
    except msgspec.ValidationError as error:
        raise InvalidRequest(explain(error, tool.asks, "the arguments") + ".") from error
    return await tool.does(call, asked, tell)


def remark(event: Event) -> str:
    """Return what is worth telling of an event while somebody waits; nothing for most."""
    match event.data:
        case Text(delta=said):
            return said
        case Status(status=status):
            return f"[{status}]"
        case ToolUsed(name=name):
            return f"[uses {name}]"
    return ""
