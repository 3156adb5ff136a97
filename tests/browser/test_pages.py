"""Every page of the dashboard opens, on a phone and on a large screen, and is accessible, dark and light."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import ViewportSize

from tests.support import clients
from tests.support.browser import Dashboard
from tests.support.dashboard_pages import PHONE, ROWS, SCREEN, PageRow, find_address, wait_complete
from tests.support.inprocess import Serving
from tests.support.showcase import open_showcase

SMALL_PHONE: ViewportSize = {"width": 320, "height": 640}
#: looks for what depends on the colours
COLORS = "axe.run({runOnly: ['color-contrast', 'link-in-text-block']})"


by_page = pytest.mark.parametrize("row", ROWS, ids=[row.pattern for row in ROWS])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def showcase(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    """A gateway with something to show on each page. No test changes it."""
    async with open_showcase(tmp_path_factory.mktemp("showcase")) as served:
        yield served


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
async def test_axe_finds_nothing_on_a_page(showcase: Serving, dashboard: Dashboard, row: PageRow) -> None:
    """https://github.com/dequelabs/axe-core/blob/develop/doc/API.md"""
    axe = (clients.node_package("axe-core") / "axe.min.js").read_text()
    # The policy of our pages forbids foreign scripts, also those of a test.
    path = await find_address(showcase, row)
    page = await dashboard(showcase, path, viewport=SCREEN, color_scheme="light", bypass_csp=True)
    await wait_complete(page)
    await page.evaluate(axe)

    found = (await page.evaluate("axe.run()"))["violations"]
    await page.emulate_media(color_scheme="dark")
    found += (await page.evaluate(COLORS))["violations"]
    await page.set_viewport_size(PHONE)
    await wait_complete(page)
    found += (await page.evaluate("axe.run()"))["violations"]
    await page.emulate_media(color_scheme="light")
    found += (await page.evaluate(COLORS))["violations"]

    told = {f"{one['id']}: {node['html'][:160]}\n  {node['failureSummary']}" for one in found for node in one["nodes"]}
    assert not told, "\n".join(sorted(told))
