"""Deliveries in the browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from harness.webhook_receiver import serve_receiver
from tests.browser.elsewhere import call, submit
from tests.support.browser import Dashboard
from tests.support.inprocess import Serving, serving


@pytest_asyncio.fixture(loop_scope="session")
async def moongate(tmp_path: Path) -> AsyncIterator[Serving]:
    """A gateway that tries again only when it is told."""
    async with serving(tmp_path / "home", {"webhooks": {"schedule": [0, 3600, 3600]}}) as served:
        yield served


def rows(page: Page) -> Locator:
    return page.locator(".deliveries-table .rows .row")


async def test_a_dead_letter_is_shown_with_its_attempts_and_sent_again(moongate: Serving, dashboard: Dashboard) -> None:
    async with serve_receiver("410", "503", "200") as receiver:
        page = await dashboard(moongate, "/deliveries?status=dead")
        await expect(page.get_by_text("No dead letters.")).to_be_visible()
        await submit(moongate, "hi", webhook=receiver.url)
        await rows(page).get_by_role("link").click()
        attempts = page.locator(".attempts li")
        await expect(attempts).to_have_count(1)
        await expect(attempts).to_contain_text("HTTP 410")

        again = page.get_by_role("button", name="Send again")
        await again.click()
        await expect(page.locator("main header .badge")).to_contain_text("Waiting")
        await expect(attempts.first).to_contain_text("HTTP 503")
        await again.click()

        await expect(page.locator("main header .badge")).to_contain_text("Delivered")
        await expect(attempts.first).to_contain_text("HTTP 200")
        await expect(again).to_have_count(0)
        await page.get_by_role("link", name="Open the run").click()
        await expect(page.locator(".message.user")).to_have_text("hi")


async def test_several_dead_letters_are_sent_again(moongate: Serving, dashboard: Dashboard) -> None:
    async with serve_receiver("410", "410", "410") as receiver:
        for n in range(3):
            await submit(moongate, f"hi {n}", webhook=f"{receiver.url}/{n}")
        page = await dashboard(moongate, "/deliveries")
        await expect(page.get_by_role("button", name="Dead letter 3")).to_be_visible()
        await page.get_by_role("button", name="Dead letter").click()
        await expect(rows(page)).to_have_count(3)

        await rows(page).filter(has_text="/hook/0").get_by_role("checkbox").check()
        await rows(page).filter(has_text="/hook/2").get_by_role("checkbox").check()
        await page.get_by_role("region", name="2 selected").get_by_role("button", name="Send again").click()

        await expect(rows(page)).to_have_count(1)
        await expect(rows(page)).to_contain_text("/hook/1")
        await page.get_by_role("button", name="Delivered 2").click()
        await expect(rows(page)).to_have_count(2)
        await page.get_by_role("searchbox").fill("/hook/2")
        await expect(rows(page)).to_have_count(1)
        await page.get_by_role("searchbox").fill("")
        await page.get_by_role("button", name="All").click()
        await rows(page).filter(has_text="/hook/1").get_by_role("button", name="Send again").click()
        await expect(page.get_by_role("button", name="Delivered 3")).to_be_visible()
        await expect(rows(page).get_by_role("button", name="Send again")).to_have_count(0)
        assert len(receiver.requests) == 6
        assert (await call(moongate, "GET", "/api/deliveries/counts"))["delivered"] == 3
