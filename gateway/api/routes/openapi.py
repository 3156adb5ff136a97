"""The API description for programs: `GET /openapi.json`."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from aiohttp import web

from gateway.api import openapi
from gateway.api.routing import Call, Nothing, Routes, discover_routes
from gateway.domain.token import Scope

ROUTES = Routes("meta")


@cache
def _encode_document() -> bytes:
    document: dict[str, Any] = openapi.build_document(discover_routes())
    return msgspec.json.encode(document)


@ROUTES.add("GET", "/openapi.json", scope=Scope.READ)
async def show(call: Call[Nothing, Nothing]) -> web.Response:
    """Show the OpenAPI 3.1 document, which is made from the types that validate requests."""
    return web.Response(body=_encode_document(), content_type="application/json")
