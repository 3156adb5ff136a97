"""A minimal aiohttp server with a bearer check: `GET /health`, `POST /echo`. Arguments: port, token."""

from __future__ import annotations

import asyncio
import hmac
import sys

from aiohttp import web

TOKEN = f"Bearer {sys.argv[2]}".encode()


async def echo(request: web.Request) -> web.Response:
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), TOKEN):
        raise web.HTTPUnauthorized
    return web.json_response(await request.json())


async def health(request: web.Request) -> web.Response:
    return web.json_response({"status": "healthy"})


async def main() -> None:
    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_post("/echo", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    await asyncio.Event().wait()


asyncio.run(main())
