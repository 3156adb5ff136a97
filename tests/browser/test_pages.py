"""Every page of the dashboard opens, on a phone and on a large screen, and is accessible, dark and light."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Page, ViewportSize, expect

from tests.support import clients
from tests.support.browser import Dashboard
from tests.support.inprocess import Serving
from tests.support.showcase import open_showcase

WEB = Path(__file__).parents[2] / "gateway" / "web"
PHONE: ViewportSize = {"width": 390, "height": 844}
SCREEN: ViewportSize = {"width": 1440, "height": 900}
SMALL_PHONE: ViewportSize = {"width": 320, "height": 640}


class PageRow(NamedTuple):
    """A row of PAGES in core/router.js."""

    name: str
    pattern: str


ROWS = [
    PageRow(*found)
    for found in re.findall(r"{ name: '(\w+)', pattern: '([^']+)'", (WEB / "core" / "router.js").read_text())
    if (WEB / "pages" / f"{found[0]}.js").exists() and found[1] != "/runs/:id"
]
by_page = pytest.mark.parametrize("row", ROWS, ids=[row.pattern for row in ROWS])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def showcase(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    """A gateway with something to show on each page. No test changes it."""
    async with open_showcase(tmp_path_factory.mktemp("showcase")) as served:
        yield served


#: where a page with a part of the address finds it: a path of the API, a list in its answer, a field
PARTS = {
    "/chat/:session": ("/api/sessions", "sessions", "key"),
    "/runs/:id": ("/api/tasks?status=succeeded&agent=atlas", "tasks", "id"),
    "/board/:project": ("/api/projects", "projects", "slug"),
    "/schedules/:id": ("/api/cron", "jobs", "id"),
    "/deliveries/:id": ("/api/deliveries", "deliveries", "id"),
    "/agents/:id": ("/api/agents", "agents", "id"),
}


async def find_address(served: Serving, row: PageRow) -> str:
    """Return the address of a page with something to show."""
    if row.pattern not in PARTS:
        return f"{row.pattern}?q=archive" if row.name == "search" else row.pattern
    path, name, field = PARTS[row.pattern]
    async with served.client.get(path) as answer:
        value = (await answer.json())[name][0][field]
    return re.sub(r":\w+", quote(value, safe=""), row.pattern)


async def wait_complete(page: Page) -> None:
    """Wait until a page has its heading, and has loaded what it shows."""
    await expect(page.get_by_role("heading", level=1)).not_to_be_empty()
    await expect(page.locator("#content .loading")).to_have_count(0)


@by_page
async def test_a_page_opens_and_needs_no_more_width_than_there_is(
    showcase: Serving, dashboard: Dashboard, row: PageRow
) -> None:
    page = await dashboard(showcase, await find_address(showcase, row), viewport=SCREEN)
    for size in (SCREEN, PHONE, SMALL_PHONE):
        await page.set_viewport_size(size)
        await wait_complete(page)
        assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"], size


@pytest.mark.clients
@by_page
@pytest.mark.parametrize(("size", "first", "second"), [(SCREEN, "light", "dark"), (PHONE, "dark", "light")])
async def test_axe_finds_nothing_on_a_page(
    showcase: Serving, dashboard: Dashboard, row: PageRow, size: ViewportSize, first: Any, second: Any
) -> None:
    """https://github.com/dequelabs/axe-core/blob/develop/doc/API.md"""
    axe = (clients.node_package("axe-core") / "axe.min.js").read_text()
    # The policy of our pages forbids foreign scripts, also those of a test.
    path = await find_address(showcase, row)
    page = await dashboard(showcase, path, viewport=size, color_scheme=first, bypass_csp=True)
    await wait_complete(page)
    await page.evaluate(axe)

    found = (await page.evaluate("axe.run()"))["violations"]
    await page.emulate_media(color_scheme=second)
    found += (await page.evaluate("axe.run({runOnly: ['color-contrast', 'link-in-text-block']})"))["violations"]

    told = {f"{one['id']}: {node['html'][:160]}\n  {node['failureSummary']}" for one in found for node in one["nodes"]}
    assert not told, "\n".join(sorted(told))
