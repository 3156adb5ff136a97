"""The pages of the dashboard, as its router lists them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from playwright.async_api import Page, ViewportSize, expect

from tests.support.inprocess import Serving

PHONE: ViewportSize = {"width": 390, "height": 844}
SCREEN: ViewportSize = {"width": 1440, "height": 900}
_ROUTER = Path(__file__).parents[2] / "gateway" / "web" / "core" / "router.js"
#: where a page with a part of the address finds it: a path of the API, a list in its answer, a field
_PARTS = {
    "/chat/:session": ("/api/sessions?q=482", "sessions", "key"),
    "/runs/:id": ("/api/tasks?status=succeeded&label=repository=static-server", "tasks", "id"),
    "/board/:project": ("/api/projects?limit=2", "projects", "slug"),
    "/schedules/:id": ("/api/cron", "jobs", "id"),
    "/deliveries/:id": ("/api/deliveries?status=dead", "deliveries", "id"),
    "/agents/:id": ("/api/agents", "agents", "id"),
}


class PageRow(NamedTuple):
    """A row of PAGES in core/router.js."""

    name: str
    pattern: str


ROWS = [PageRow(*found) for found in re.findall(r"{ name: '(\w+)', pattern: '([^']+)'", _ROUTER.read_text())]


async def find_address(served: Serving, row: PageRow) -> str:
    """Return the address of a page that has something to show in the showcase."""
    if row.pattern not in _PARTS:
        return f"{row.pattern}?q=archive" if row.name == "search" else row.pattern
    path, name, field = _PARTS[row.pattern]
    async with served.client.get(path) as answer:
        value = (await answer.json())[name][-1][field]
    return re.sub(r":\w+", quote(value, safe=""), row.pattern)


async def wait_complete(page: Page) -> None:
    """Wait until a page has its heading, and has loaded what it shows."""
    await expect(page.get_by_role("heading", level=1)).not_to_be_empty()
    await expect(page.locator("#content .loading")).to_have_count(0)
