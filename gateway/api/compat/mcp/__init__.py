"""The Model Context Protocol: an agent uses the gateway through tools. It is stateless: each POST is one request.

Specification: https://modelcontextprotocol.io/specification.
"""

from __future__ import annotations

import asyncio
import importlib
import shlex
import sys
from types import ModuleType

from aiohttp import web

from gateway.api.compat.mcp.wire import McpAnswer, McpError, Message, NotInstalled, render_mcp_error
from gateway.api.routing import Call, Dialect, Nothing, Routes
from gateway.domain.token import Scope

ROUTES = Routes("mcp", dialect=Dialect(error_type=McpError, render_error=render_mcp_error))


@ROUTES.add(
    "POST", "/mcp", scope=Scope.READ, body=Message, answer=McpAnswer, silent_status=202, streams=True, batches=True
)
async def speak_mcp(call: Call[Message | list[Message], Nothing]) -> web.StreamResponse:
    """Answer a message of an MCP client, or a batch of them; the token's scope decides which tools it may use."""
    call.read_idempotency_key()  # refuse a malformed key, whatever the message is
    answer: web.StreamResponse = await (await _load_protocol()).answer_body(call)
    return answer


async def _load_protocol() -> ModuleType:
    """Return the module that implements the protocol; the first import takes a second, so it runs in a thread.

    Raises:
        NotInstalled: the MCP library is not installed.
    """
    try:
        return await asyncio.to_thread(importlib.import_module, f"{__name__}.protocol")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gateway."):
            raise
        raise NotInstalled(
            f"MCP needs a library that is not installed ({error.name}).",
            remedy="Install it into the environment of the gateway, then restart the gateway:"
            f" {shlex.quote(sys.executable)} -m pip install 'moongate[mcp]'",
        ) from error
