"""The page of deliveries in the browser."""

from __future__ import annotations

import re

from playwright.async_api import expect

from harness.webhook_receiver import serve_receiver
from tests.support.browser import Dashboard, shown
from tests.support.inprocess import Serving


async def submit(served: Serving, url: str) -> str:
    async with served.client.post("/api/tasks", json={"input": "@@ say hi", "webhook": url}) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["task"]["id"])


async def test_a_dead_letter_shows_its_attempts_and_is_sent_again(moongate: Serving, dashboard: Dashboard) -> None:
    async with serve_receiver("410") as receiver:
        run = await submit(moongate, receiver.url)
        page = await dashboard(moongate, "/deliveries")
        await shown(page, "Deliveries")
        await page.get_by_role("button", name="Dead letter").click()
        row = page.locator(".deliveries-table .rows .row")
        await expect(row).to_contain_text("answered 410")
        await row.get_by_role("link").click()
        await expect(page.locator(".attempts li")).to_contain_text(["HTTP 410"])
        await expect(page.get_by_role("link", name="Open the run")).to_have_attribute("href", f"#/runs/{run}")

        await page.get_by_role("button", name="Send again").click()

        await expect(page.locator(".panel .badge").first).to_have_text("Delivered")
        await expect(page.locator(".attempts li")).to_contain_text(["HTTP 200", "HTTP 410"])
        await expect(page.get_by_role("button", name="Send again")).to_have_count(0)
    assert len(receiver.requests) == 2


async def test_all_chosen_dead_letters_are_sent_again_at_once(moongate: Serving, dashboard: Dashboard) -> None:
    async with serve_receiver("410", "410", "410") as receiver:
        for _ in range(3):
            await submit(moongate, receiver.url)
        page = await dashboard(moongate, "/deliveries?status=dead")
        rows = page.locator(".deliveries-table .rows .row")
        await expect(rows).to_have_count(3)
        await page.get_by_label("Select all that are loaded").check()
        await expect(page.get_by_text("3 selected")).to_be_visible()

        await page.get_by_role("button", name="Send again").click()

        await expect(page.get_by_text("3 are sent again.")).to_be_visible()
        await expect(page.get_by_text("No dead letters.")).to_be_visible()
        await expect(page.get_by_role("button", name=re.compile("Delivered 3"))).to_be_visible()
    assert len(receiver.requests) == 6
