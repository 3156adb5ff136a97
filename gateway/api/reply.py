"""Makes JSON answers."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

_encode = msgspec.json.Encoder().encode


def json_response(
    body: Struct | dict[str, Any] | list[Any], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a response with this JSON body."""
    return web.Response(status=status, body=_encode(body), content_type="application/json", headers=headers)
