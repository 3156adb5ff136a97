"""Answers MCP messages with the official SDK, without the SDK's transports: one message in, one answer out.

The SDK is an optional dependency and takes a second to import: only `speak_mcp` imports this module, on its first
request. Nothing is kept between requests, so a restart between two requests does no harm; protocol versions
that begin with `initialize` are served like the stateless ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import anyio
import msgspec
from aiohttp import web
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_one
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    MCP_PROTOCOL_VERSION_HEADER,
    InboundLadderRejection,
    classify_inbound_request,
    find_duplicated_routing_header,
)
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    DEFAULT_NEGOTIATED_VERSION,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequests,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
    RequestId,
    TextContent,
    Tool,
    ToolAnnotations,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from msgspec import UNSET
from pydantic import ValidationError

import gateway
from gateway.api import reply, sse
from gateway.api.compat.mcp import tool as gateway_tool
from gateway.api.compat.mcp.asking import answer_request, compose_message, list_open_requests, make_schema
from gateway.api.compat.mcp.task import TaskSummary
from gateway.api.compat.mcp.tool import ToolClient
from gateway.api.compat.mcp.tools import MCP_TOOLS
from gateway.api.compat.mcp.wire import McpAnswer, McpComplaint, Message, render_mcp_error
from gateway.api.routing import Call, Nothing
from gateway.domain.event import Event
from gateway.domain.permission import PermissionRequest
from gateway.domain.token import Scope
from gateway.errors import GatewayError, InvalidRequest

_Call = Call[Message, Nothing]

#: the only version of the protocol that has batches: https://modelcontextprotocol.io/specification/2025-03-26/basic
BATCH_VERSION = "2025-03-26"
#: messages of one batch
MAX_BATCH_MESSAGES = 64
#: bytes of all answers of a batch; one answer with a page of long messages has about 4 MB
MAX_BATCH_ANSWER_BYTES = 16 << 20

_MCP_INSTRUCTIONS = """\
Moongate runs AI agents. What you submit here is on disk, and is done even if you disconnect.
send_message sends a message to an agent and waits for its reply; run_task submits long work, which you
follow with wait_task or follow_task. A wait ends after some seconds with the state so far: then wait again.\
"""
#: tools that wait for the end of a task; while they do, the client's user can answer what its agent asks
_WAITING_TOOLS = ("send_message", "wait_task")


async def answer_body(call: Call[Any, Nothing]) -> web.StreamResponse:
    """Answer a message or a batch of messages."""
    return await (_answer_batch(call, call.body) if isinstance(call.body, list) else answer_message(call))


async def _answer_batch(call: Call[Any, Nothing], messages: list[Message]) -> web.StreamResponse:
    """Answer several messages together; only version 2025-03-26 of the protocol has batches.

    Raises:
        InvalidRequest: the batch is empty or too long, the client speaks another version, or it sent an
            Idempotency-Key, which can only stand for one message.
    """
    version = call.request.headers.get(MCP_PROTOCOL_VERSION_HEADER, BATCH_VERSION)
    if version != BATCH_VERSION:
        raise InvalidRequest(f"version {version[:32]} of the protocol has no batches: send one message.")
    if not 1 <= len(messages) <= MAX_BATCH_MESSAGES:
        raise InvalidRequest(f"a batch has 1 to {MAX_BATCH_MESSAGES} messages.")
    if call.read_idempotency_key() is not None:
        raise InvalidRequest("Idempotency-Key: it stands for one message, not for a batch: send single messages.")
    connection = Connection.from_envelope(version, None, None)
    requests = [(call.copy_with_body(message), message.id) for message in messages]
    room = _AnswerRoom(MAX_BATCH_ANSWER_BYTES)
    async with asyncio.TaskGroup() as group:
        answering = [
            group.create_task(_answer_in_batch(_Exchange(one, id_), connection, room))
            for one, id_ in requests
            if id_ is not UNSET
        ]
    if not answering:
        return web.Response(status=202)
    body = b"[" + b",".join(task.result() for task in answering) + b"]"
    return web.json_response(body=body, headers=call.headers)


class _AnswerRoom:
    """How many bytes the answers of one batch may still have."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int) -> bool:
        """Return whether there is room for an answer; then it is taken."""
        if size > self._left:
            return False
        self._left -= size
        return True


async def _answer_in_batch(exchange: _Exchange, connection: Connection, room: _AnswerRoom) -> bytes:
    """Return an answer of a batch as JSON. One for which there is no room is left out if it can be had again."""
    said = msgspec.json.encode(await exchange.run_request(connection))
    if room.take(len(said)) or exchange.has_effect:
        return said
    why = InvalidRequest("the answers of this batch are too large together.", remedy="Send this request alone.")
    return msgspec.json.encode(McpAnswer(error=render_mcp_error(why).error, id=exchange.request_id))


async def answer_message(call: _Call) -> web.StreamResponse:
    """Answer one message: with JSON, or with a stream if the client follows the progress of its request."""
    message = call.body
    if message.id is UNSET:
        return web.Response(status=202)  # no notification has an effect here
    opened = _open_connection(call)
    if isinstance(opened, McpAnswer):
        return _json_response(call, opened, modern=True)
    exchange = _Exchange(call, message.id)
    if call.wants_stream and exchange.token is not None:
        frames = _stream_progress_and_answer(exchange, opened)
        return await sse.send_stream(
            call,
            frames,
            until=call.engine.runs.drained,
            encode_end=lambda why: _encode_message(
                McpAnswer(error=render_mcp_error(why).error, id=exchange.request_id)
            ),
        )
    said = await exchange.run_request(opened.connection)
    return _json_response(call, said, modern=opened.modern)


class _OpenConnection(NamedTuple):
    connection: Connection
    #: whether the protocol version has no handshake; then errors also set the HTTP status
    modern: bool


def _open_connection(call: _Call) -> _OpenConnection | McpAnswer:
    """Return the SDK's connection for a request, made from its headers and, in newer versions, its body."""
    given = call.request.headers
    version = given.get(MCP_PROTOCOL_VERSION_HEADER)
    if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
        return _OpenConnection(
            Connection.from_envelope(version or DEFAULT_NEGOTIATED_VERSION, None, None), modern=False
        )
    twice = find_duplicated_routing_header(given.items())
    found = (
        InboundLadderRejection(code=HEADER_MISMATCH, message=f"the header {twice} was sent twice")
        if twice
        else classify_inbound_request(
            msgspec.to_builtins(call.body), headers={name.lower(): value for name, value in given.items()}
        )
    )
    if isinstance(found, InboundLadderRejection):
        assert call.body.id is not UNSET
        return McpAnswer(error=McpComplaint(code=found.code, message=found.message, data=found.data), id=call.body.id)
    connection = Connection.from_envelope(found.protocol_version, found.client_info, found.client_capabilities)
    return _OpenConnection(connection, modern=True)


def _json_response(call: _Call, said: McpAnswer, *, modern: bool) -> web.Response:
    status = ERROR_CODE_HTTP_STATUS.get(said.error.code, 200) if modern and said.error is not UNSET else 200
    return reply.json_response(said, status, call.headers)


def _encode_message(said: Any) -> bytes:
    return sse.encode_frame(msgspec.json.encode(said), event="message")


async def _stream_progress_and_answer(exchange: _Exchange, opened: _OpenConnection) -> AsyncGenerator[bytes, None]:
    """Yield notifications about the progress of a request, then its answer."""
    performing = asyncio.create_task(exchange.run_request(opened.connection), name="mcp")
    try:
        while not performing.done():
            telling = asyncio.create_task(exchange.told.get(), name="mcp-progress")
            await asyncio.wait({performing, telling}, return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                yield _encode_message(telling.result())
            telling.cancel()
        while not exchange.told.empty():
            yield _encode_message(exchange.told.get_nowait())
        yield _encode_message(performing.result())
    finally:
        performing.cancel()
        with suppress(asyncio.CancelledError):
            await performing


class _Exchange:
    """One request; the SDK calls this object a dispatch context."""

    def __init__(self, call: _Call, id_: RequestId) -> None:
        self.request_id = id_
        self.token = progress_token_from_params(_request_params(call))
        #: notifications for the client; only one fits, so that a slow client slows down the sender
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
        self.message_metadata = ServerMessageMetadata(request_context=call)
        self.transport = TransportContext(kind="streamable-http", can_send_request=False)
        self.can_send_request = False
        self.cancel_requested = anyio.Event()
        self._call = call

    @property
    def has_effect(self) -> bool:
        """Whether the request does more than read: then it must not be sent a second time for its answer."""
        named = (_request_params(self._call) or {}).get("name")
        tool = MCP_TOOLS.by_name.get(named) if isinstance(named, str) else None
        return tool is not None and tool.scope is not Scope.READ

    async def run_request(self, connection: Connection) -> McpAnswer:
        """Let the SDK answer the request. An error of a tool is in the result, where the agent reads it."""
        body = self._call.body
        try:
            done = await serve_one(
                _MCP_SERVER, self, body.method, _request_params(self._call), connection=connection, lifespan_state=None
            )
        except MCPError as error:
            wrong = McpComplaint(code=error.error.code, message=error.error.message, data=error.error.data)
        except ValidationError:
            wrong = McpComplaint(code=INVALID_PARAMS, message="Invalid request parameters")
        else:
            return McpAnswer(id=self.request_id, result=done)
        return McpAnswer(error=wrong, id=self.request_id)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        if self.token is not None:
            await self.told.put({"jsonrpc": "2.0", "method": method, "params": dict(params or {})})

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        said = {"progressToken": self.token, "progress": progress, "total": total, "message": message}
        await self.notify("notifications/progress", {name: value for name, value in said.items() if value is not None})

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        raise NoBackChannelError(method)


def _request_params(call: _Call) -> dict[str, Any] | None:
    return None if call.body.params is UNSET else call.body.params


# --- tools --------------------------------------------------------------------------------------


async def _list_tools(ctx: ServerRequestContext[Any, Any], _: PaginatedRequestParams | None) -> ListToolsResult:
    """List the tools that the caller's token allows."""
    scope = _gateway_call(ctx).principal.scope
    return ListToolsResult(
        tools=[_describe_tool(tool) for tool in MCP_TOOLS.by_name.values() if scope.covers(tool.scope)]
    )


def _gateway_call(ctx: ServerRequestContext[Any, Any]) -> _Call:
    assert isinstance(ctx.request, Call), "the exchange passes the call through the SDK"
    return ctx.request


@cache
def _describe_tool(tool: gateway_tool.Tool) -> Tool:
    return Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        annotations=ToolAnnotations(read_only_hint=tool.scope is Scope.READ),
    )


async def _call_tool(
    ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    tool = MCP_TOOLS.by_name.get(params.name)
    if tool is None:
        raise MCPError(code=INVALID_PARAMS, message=f"there is no tool {params.name[:64]!r}")

    async def tell_event(event: Event) -> None:
        said = gateway_tool.summarize_event(event)
        if said:
            await ctx.session.report_progress(event.number, None, said)

    call, given = _gateway_call(ctx), params.arguments or {}
    follows = progress_token_from_params(ctx.params) is not None
    waits = params.name in _WAITING_TOOLS
    client = ToolClient(tell_event if follows else None, shows_forms=waits and _shows_forms(ctx))
    try:
        if waits and params.request_state is not None:
            client = client._replace(dismissed=await _pass_on_responses(call, params, client))
            tool, given = _continue_waiting(params.request_state, given)
        done = await gateway_tool.run_tool(tool, call, given, client)
        if client.shows_forms and isinstance(done, TaskSummary) and done.asks:
            open_ = await list_open_requests(call, done.task_id)
            forms: InputRequests = {one.id: _make_form(one) for one in open_ if one.id not in client.dismissed}
            if forms:
                return InputRequiredResult(input_requests=forms, request_state=done.task_id)
    except GatewayError as error:
        return CallToolResult(content=[TextContent(text=str(error))], is_error=True)
    told = msgspec.to_builtins(done)
    return CallToolResult(content=[TextContent(text=msgspec.json.encode(told).decode())], structured_content=told)


# --- what agents ask ----------------------------------------------------------------------------


def _shows_forms(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Return whether the client can show its user a form, and may pass on the answer."""
    able = ctx.session.client_capabilities
    forms = None if able is None else able.elicitation
    modern = ctx.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS
    # Without a mode, an early client means forms.
    has_forms = forms is not None and (forms.form is not None or forms.url is None)
    return modern and has_forms and _gateway_call(ctx).principal.scope.covers(Scope.WRITE)


def _make_form(asked: PermissionRequest) -> ElicitRequest:
    return ElicitRequest(
        params=ElicitRequestFormParams(message=compose_message(asked), requested_schema=make_schema(asked))
    )


async def _pass_on_responses(call: _Call, params: CallToolRequestParams, client: ToolClient) -> list[str]:
    """Answer the requests whose forms the user has filled in; return the ids of those that were dismissed.

    Raises:
        GatewayError: an answer does not fit, or this client may not answer.
    """
    if not client.shows_forms:
        raise InvalidRequest("inputResponses: this client shows no forms, or its token may not answer them.")
    dismissed = []
    for request, said in (params.input_responses or {}).items():
        if isinstance(said, ElicitResult):
            answering = answer_request(call, params.request_state or "", request, said.action, said.content or {})
            if not await asyncio.shield(answering):
                dismissed.append(request)
    return dismissed


def _continue_waiting(run: str, given: Mapping[str, Any]) -> tuple[gateway_tool.Tool, dict[str, Any]]:
    """Return the tool that waits on for a task, and its arguments: a message must not be submitted again."""
    return MCP_TOOLS.by_name["wait_task"], {"task_id": run} | {name: given[name] for name in ("wait",) if name in given}


_MCP_SERVER: Server[Any] = Server(
    "moongate",
    version=gateway.__version__,
    instructions=_MCP_INSTRUCTIONS,
    on_list_tools=_list_tools,
    on_call_tool=_call_tool,
)
_MCP_SERVER.middleware.clear()  # it only has a tracer, which nothing reads
