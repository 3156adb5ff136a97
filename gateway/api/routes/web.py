"""The dashboard's own files: `GET /` and what it loads from `/ui/`. They are the same for all, and need no token."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from gateway.api.routing import Call, Nothing, Routes
from gateway.api.web_files import answer_web_file, load_web_files
from gateway.errors import NotFound

ROUTES = Routes("web")

#: how the routes of all files but the first page are declared
FILE_ROUTE: Any = {"scope": None, "is_page": True, "answer_media_type": "text/javascript", "documented": False}

#: the first page is asked for each time: it names the version of all others
REVALIDATED = "no-cache"
#: for a year, without asking again: https://www.rfc-editor.org/rfc/rfc8246
IMMUTABLE = "public, max-age=31536000, immutable"


@ROUTES.add("GET", "/", scope=None, answer_media_type="text/html", is_page=True, documented=False)
async def show_dashboard(call: Call[Nothing, Nothing]) -> web.Response:
    """Show the dashboard."""
    found = await asyncio.to_thread(load_web_files)
    return answer_web_file(call.request, found.files["index.html"], REVALIDATED)


@ROUTES.add("GET", "/ui/{version}/{name}", **FILE_ROUTE)
async def show_web_file(call: Call[Nothing, Nothing]) -> web.Response:
    """Return a file of the dashboard."""
    return await _answer(call, call.path["name"])


@ROUTES.add("GET", "/ui/{version}/{folder}/{name}", **FILE_ROUTE)
async def show_web_file_in_folder(call: Call[Nothing, Nothing]) -> web.Response:
    """Return a file of the dashboard."""
    return await _answer(call, f"{call.path['folder']}/{call.path['name']}")


async def _answer(call: Call[Nothing, Nothing], name: str) -> web.Response:
    """Answer with a file of the version of today: after an upgrade, an open page must not mix two versions.

    Raises:
        NotFound: there is no such file, or it is of another version.
    """
    found = await asyncio.to_thread(load_web_files)
    if call.path["version"] != found.version or name not in found.files or name == "index.html":
        raise NotFound("this version of the dashboard has no such file.", remedy="Load the page again.")
    return answer_web_file(call.request, found.files[name], IMMUTABLE)
