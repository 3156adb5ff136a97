"""The search in the browser."""

from __future__ import annotations

from playwright.async_api import expect

from tests.support.browser import Dashboard
from tests.support.inprocess import Serving


async def ask(served: Serving, text: str, session: str) -> str:
    """Ask an agent, and wait for its answer; return the id of the run."""
    body = {"message": text, "session": session}
    async with served.client.post("/api/agent", json=body) as answer:
        assert answer.ok, await answer.text()
        return str((await answer.json())["run_id"])


async def test_a_search_marks_what_it_found_and_opens_the_message(moongate: Serving, dashboard: Dashboard) -> None:
    first = await ask(moongate, "Where is the <b>backup</b> of October?", "main:webchat:talk")
    for number in range(60):
        await ask(moongate, f"another matter {number}", "main:webchat:talk")
    page = await dashboard(moongate, "/search")

    await page.get_by_role("searchbox", name="Search all messages").fill("backup")
    found = page.locator(".found-row")
    await expect(found).to_have_count(2)
    await expect(found.first.locator("mark")).to_have_text("backup")
    await expect(found.last).to_contain_text("<b>backup</b>")
    await found.last.click()

    asked = page.locator(f'[data-run="{first}"]')
    await expect(asked).to_be_in_viewport()
    await expect(asked).to_contain_text("of October?")


async def test_a_search_without_a_match_says_so(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/search?q=nowhere")

    await expect(page.get_by_text("No message has all of these words.")).to_be_visible()
    await expect(page.get_by_role("searchbox", name="Search all messages")).to_have_value("nowhere")
