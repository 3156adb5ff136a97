"""What a tool is: a name, the arguments that it takes and the function that runs it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from gateway.api import openapi
from gateway.api.routing import Call
from gateway.domain.actor import CURRENT_ACTOR
from gateway.domain.event import Event, Status, Text
from gateway.domain.event import Tool as ToolUsed
from gateway.domain.token import Scope
from gateway.errors import Forbidden, InvalidRequest
from gateway.validation import end_sentence, explain_error

#: receives each event of a run while a tool waits for it
TellEvent = Callable[[Event], Awaitable[None]]
_Call = Call[Any, Any]


class ToolClient(NamedTuple):
    """The client of one call, as far as a tool can use it."""

    #: is told the events of a run while the tool waits; None if the client does not follow them
    tell: TellEvent | None = None
    #: whether its user answers what an agent asks: then a wait ends when an agent asks
    shows_forms: bool = False
    #: ids of requests that the user has dismissed without an answer
    dismissed: Collection[str] = ()


class Tool(NamedTuple):
    """One tool."""

    name: str
    #: what agents read about it
    description: str
    #: the scope that the caller's token needs
    scope: Scope
    arguments_type: type[Struct]
    handler: Callable[[_Call, Any, ToolClient], Awaitable[Struct]]

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        _, found = msgspec.json.schema_components([self.arguments_type], ref_template="#/$defs/{name}")
        own: dict[str, Any] = openapi.strip_python_patterns(found.pop(self.arguments_type.__name__))
        return {**own, "$defs": openapi.strip_python_patterns(found)} if found else own


class ToolTable:
    """Tools by name, in the order in which they are listed."""

    def __init__(self) -> None:
        self.by_name: dict[str, Tool] = {}

    def add_tool(self, scope: Scope, asks: type[Struct]) -> Callable[[Any], Any]:
        """Declare the decorated function as a tool; agents read its docstring."""

        def declare_tool(does: Any) -> Any:
            self.by_name[does.__name__] = Tool(does.__name__, inspect.getdoc(does) or "", scope, asks, does)
            return does

        return declare_tool


async def run_tool(tool: Tool, call: _Call, given: dict[str, Any], client: ToolClient) -> Struct:
    """Run a tool and return its result.

    Raises:
        Forbidden: the scope of the caller's token is too low.
        InvalidRequest: the arguments do not fit the tool.
        GatewayError: the tool failed; the message says why.
    """
    if not call.principal.scope.covers(tool.scope):
        call.server.engine.audit.count_refusal(CURRENT_ACTOR.get(), tool.scope)
        raise Forbidden(f"this token has the scope {call.principal.scope}; {tool.scope} is needed.")
    try:
        asked = msgspec.convert(given, tool.arguments_type)
    except msgspec.ValidationError as error:
        raise InvalidRequest(end_sentence(explain_error(error, tool.arguments_type, "the arguments"))) from error
    return await tool.handler(call, asked, client)


def summarize_event(event: Event) -> str:
    """Return a short text about an event for a client that waits; empty for most events."""
    match event.data:
        case Text(delta=said):
            return said
        case Status(status=status):
            return f"[{status}]"
        case ToolUsed(name=name):
            return f"[uses {name}]"
    return ""
