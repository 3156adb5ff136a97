"""The frame around all pages: keys, and pages that cannot be loaded."""

from __future__ import annotations

from playwright.async_api import Route, expect

from tests.support.browser import Dashboard, shown
from tests.support.inprocess import Serving


async def submit(served: Serving, text: str, **more: object) -> str:
    async with served.client.post("/api/tasks", json={"input": text, **more}) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["task"]["id"])


async def test_two_keys_are_not_taken_for_the_second_alone(moongate: Serving, dashboard: Dashboard) -> None:
    run = await submit(moongate, "@@ fail no reason")
    page = await dashboard(moongate, f"/runs/{run}")
    await expect(page.get_by_role("button", name="Run again")).to_be_visible()

    await page.keyboard.press("g")
    await page.keyboard.press("r")

    await shown(page, "Runs")
    await expect(page.locator(".runs-table .rows .row")).to_have_count(1)


async def test_a_page_that_fails_to_load_does_not_take_the_place_of_a_later_one(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, "/agents")
    await shown(page, "Agents")
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route("**/pages/usage.js", hold)
    await page.evaluate("location.hash = '#/usage'")
    await expect(page.locator("#content .loading").first).to_be_visible()
    await page.evaluate("location.hash = '#/system'")
    await shown(page, "System")
    await page.evaluate("sessionStorage.setItem('reloaded', '1')")  # it was tried once already

    dashboard.expect_lost_connection()
    async with page.expect_event("requestfailed"):
        await held[0].abort()
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    await expect(page.get_by_role("heading", name="Doctor")).to_be_visible()


async def test_a_page_that_cannot_be_loaded_says_so_and_can_be_tried_again(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, "/agents")
    await shown(page, "Agents")
    dashboard.expect_lost_connection()
    await page.context.set_offline(True)

    await page.get_by_role("navigation").get_by_role("link", name="Usage").click()

    await expect(page.get_by_role("alert").first).to_contain_text("The gateway does not answer.")
    await expect(page.get_by_role("navigation")).to_be_visible()
    await page.context.set_offline(False)
    await page.get_by_role("button", name="Try again").click()
    await shown(page, "Usage")


async def test_a_page_without_a_network_goes_on_with_a_gateway_on_the_same_computer(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, "/runs")
    await expect(page.locator(".live[data-state=live]")).to_be_visible()

    async with page.expect_response("**/api/me"):
        await page.evaluate("dispatchEvent(new Event('offline'))")

    await expect(page.locator(".live[data-state=live]")).to_be_visible()
    await submit(moongate, "still heard")
    await expect(page.locator(".runs-table .rows .row")).to_have_count(1)
    await expect(page.locator(".live[data-state=live]")).to_be_visible()
