"""The Model Context Protocol: an agent uses the gateway by its tools. Stateless, one request a POST.

Specification: https://modelcontextprotocol.io/specification.
"""

from __future__ import annotations

import asyncio
import importlib
import shlex
import sys
from types import ModuleType

from aiohttp import web

from gateway.api.compat.mcp.wire import McpAnswer, McpError, Message, NotInstalled, complain
from gateway.api.routing import Call, Dialect, Nothing, Routes
from gateway.domain.token import Scope

ROUTES = Routes("mcp", dialect=Dialect(error=McpError, complain=complain))


@ROUTES.add("POST", "/mcp", scope=Scope.READ, body=Message, answer=McpAnswer, silent_status=202, streams=True)
async def speak_mcp(call: Call[Message, Nothing]) -> web.StreamResponse:
    """Take a message of an MCP client; which tools there are goes by the token's scope."""
    call.idempotency()  # a wrong one is refused whatever it would be for
    answer: web.StreamResponse = await (await _protocol()).answer(call)
    return answer


async def _protocol() -> ModuleType:
    """Return the module that speaks it; the first time takes a second, in a thread.

    Raises:
        NotInstalled: the library is not there.
    """
    try:
        return await asyncio.to_thread(importlib.import_module, f"{__name__}.protocol")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gateway."):
            raise
        raise NotInstalled(
            f"MCP needs a library that is not installed ({error.name}).",
            remedy="Install it beside the gateway, then restart it:"
            f" {shlex.quote(sys.executable)} -m pip install 'moongate[mcp]'",
        ) from error
