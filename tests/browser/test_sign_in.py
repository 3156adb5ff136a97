"""Signing in, who may do what, and what pages of other origins may not."""

from __future__ import annotations

import asyncio
import re

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Page, expect

from harness.waiting import PATIENCE
from tests.support.browser import Dashboard, make_code, shown
from tests.support.dashboard_pages import ROWS, find_address, wait_complete
from tests.support.inprocess import TOKEN, Serving
from tests.support.showcase import open_showcase

#: what a person may press who has the scope `write`, or `admin`
_WRITES = re.compile(
    r"^(Allow|Deny|Cancel|Retry|Send again|New|Add|Delete|Restart|Run now|Pause|Rename|Edit|Release|Send|Make)\b"
)


async def test_a_code_signs_one_browser_in_and_is_gone_from_the_address(
    moongate: Serving, dashboard: Dashboard
) -> None:
    code = await make_code(moongate)
    page = await (await dashboard.make_context(moongate)).new_page()

    await page.goto(f"{moongate.url}/#code={code}")
    await shown(page, "Now")

    assert "code" not in page.url
    [cookie] = await page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert await page.evaluate("[document.cookie, JSON.stringify(localStorage), history.length < 3]") == [
        "",
        "{}",
        True,
    ]

    other = await (await dashboard.make_context(moongate)).new_page()
    dashboard.expect_refusals(401, "/api/dashboard/sign-in")
    dashboard.expect_refusals(401, "/api/me")
    await other.goto(f"{moongate.url}/#code={code}")
    await expect(other.get_by_role("textbox")).to_be_visible()


async def test_a_token_can_be_typed_in_and_a_wrong_one_is_refused_in_words(
    moongate: Serving, dashboard: Dashboard
) -> None:
    dashboard.expect_refusals(401, "/api/me")
    dashboard.expect_refusals(401, "/api/dashboard/sign-in")
    page = await (await dashboard.make_context(moongate)).new_page()
    await page.goto(moongate.url)

    await page.get_by_role("textbox").fill("no-such-token-of-the-gateway")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("token is wrong")
    await page.get_by_role("textbox").fill(f" {TOKEN} ")
    await page.keyboard.press("Enter")

    await shown(page, "Now")
    await page.reload()
    await shown(page, "Now")


async def wait_for_draft(page: Page, *, there: bool) -> None:
    async with asyncio.timeout(PATIENCE):
        while await page.evaluate("localStorage.getItem('chat.drafts') !== null") is not there:
            await asyncio.sleep(0.02)


async def test_a_browser_that_signs_out_is_signed_out_in_all_its_windows(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, "/chat")
    await page.get_by_placeholder("Write a message").fill("a draft that the next person must not send")
    await wait_for_draft(page, there=True)
    await page.locator("details.account summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Or paste a token")).to_be_visible()
    await wait_for_draft(page, there=False)

    dashboard.expect_refusals(401, "/api/me")
    await page.reload()
    await expect(page.get_by_role("textbox")).to_be_visible()


async def test_who_may_only_read_sees_all_pages_and_nothing_to_press_that_writes(
    tmp_path_factory: pytest.TempPathFactory, dashboard: Dashboard
) -> None:
    async with open_showcase(tmp_path_factory.mktemp("showcase")) as served:
        page = await dashboard(served, scope="read")
        writes = page.get_by_role("button", name=_WRITES)
        for row in ROWS:
            await page.goto(f"{served.url}/#{await find_address(served, row)}")
            await wait_complete(page)
            found = [await one.evaluate("one => one.outerHTML") for one in await writes.all() if await one.is_visible()]
            assert not found, row.pattern
        await dashboard.close()


async def test_a_page_of_another_origin_can_do_nothing_with_the_cookie(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate)
    application = web.Application()
    application.router.add_get("/", _show_strange_page)
    async with TestServer(application) as strange:
        await _attack(moongate, dashboard, page, f"127.0.0.1:{strange.port}")

    async with moongate.client.get("/api/tasks") as answer:
        assert (await answer.json())["tasks"] == []


async def _show_strange_page(request: web.Request) -> web.Response:
    return web.Response(text="a page", content_type="text/html")


async def _attack(moongate: Serving, dashboard: Dashboard, page: Page, stranger: str) -> None:
    """Open a page of another origin of the same site, whose requests carry the cookie."""
    dashboard.allow_stranger(stranger)
    other = await page.context.new_page()
    await other.goto(f"http://{stranger}/")
    dashboard.expect_refusals(403, "/api/tasks")  # the other request fails before its answer is told

    for mode in ("no-cors", "cors"):
        send = "([to, mode]) => fetch(to, {method: 'POST', mode, credentials: 'include', body: '{\"input\": \"no\"}'})"
        await other.evaluate(f"{send}.then(() => 0, () => 0)", [f"{moongate.url}/api/tasks", mode])
