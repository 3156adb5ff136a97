"""A minimal aiohttp server for files, with a bearer check: `GET /health`, `POST /upload`, `GET /files/{name}`.

It writes each body to a file of its own as it comes, and answers when that is on disk. Arguments: port, token.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import sys
import tempfile
from pathlib import Path

from aiohttp import web

TOKEN = f"Bearer {sys.argv[2]}".encode()


class Server:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = 0

    async def upload(self, request: web.Request) -> web.Response:
        _check_token(request)
        self._number += 1
        name = str(self._number)
        with (self._directory / name).open("wb", buffering=0) as file:
            while data := await request.content.readany():
                file.write(data)
            await asyncio.to_thread(os.fsync, file.fileno())
        return web.json_response({"file": {"id": name}})

    async def download(self, request: web.Request) -> web.FileResponse:
        _check_token(request)
        return web.FileResponse(self._directory / Path(request.match_info["name"]).name)


def _check_token(request: web.Request) -> None:
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), TOKEN):
        raise web.HTTPUnauthorized


async def health(request: web.Request) -> web.Response:
    return web.json_response({"status": "healthy"})


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory))
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/health", health)
        app.router.add_post("/upload", server.upload)
        app.router.add_get("/files/{name}", server.download)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(15, stopped.set)
        await stopped.wait()
        await runner.cleanup()


asyncio.run(main())
