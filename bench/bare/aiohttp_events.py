"""A minimal aiohttp server of events: `GET /events`, and `POST /tell` writes one to all. Arguments: port, token."""

from __future__ import annotations

import asyncio
import hmac
import sys

from aiohttp import web

TOKEN = f"Bearer {sys.argv[2]}".encode()
#: as long as a change of the gateway
DATA = b"id: 1\nevent: session\ndata: {" + b"x" * 150 + b"}\n\n"

readers: list[web.StreamResponse] = []


def check(request: web.Request) -> None:
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), TOKEN):
        raise web.HTTPUnauthorized


async def events(request: web.Request) -> web.StreamResponse:
    check(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    readers.append(response)
    await asyncio.Event().wait()
    return response


async def tell(request: web.Request) -> web.Response:
    check(request)
    for response in readers:
        await response.write(DATA)
    return web.json_response({})


async def health(request: web.Request) -> web.Response:
    return web.json_response({"status": "healthy"})


async def main() -> None:
    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/events", events)
    app.router.add_post("/tell", tell)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1]), backlog=1024).start()
    await asyncio.Event().wait()


asyncio.run(main())
