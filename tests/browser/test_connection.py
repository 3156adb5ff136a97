"""An open page goes on over a restart and a cut network: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.async_api import Locator, Page, expect

from harness.live_gateway import Live
from tests.support.browser import Dashboard, shown
from tests.support.inprocess import Serving


def state(page: Page) -> Locator:
    return page.locator(".bar .live")


async def submit(served: Serving, text: str) -> None:
    async with served.client.post("/api/tasks", json={"input": text}) as answer:
        assert answer.status == 202, await answer.text()


async def test_an_open_page_goes_on_over_a_restart_and_shows_each_run_once(
    live: Callable[..., Live], free_port: int, dashboard: Dashboard
) -> None:
    gateway = live(config={"gateway": {"port": free_port}}).start()
    dashboard.expect_lost_connection()
    page = await dashboard(gateway, "/runs")
    await shown(page, "Runs")
    await page.evaluate("globalThis.isSamePage = true")
    gateway.call("POST", "/api/tasks", {"input": "before the restart"})
    await expect(page.get_by_text("before the restart")).to_have_count(1)

    assert gateway.call("POST", "/api/gateway/restart", {}).status < 300
    gateway.wait_led()
    gateway.call("POST", "/api/tasks", {"input": "after the restart"})

    await expect(page.get_by_text("after the restart")).to_have_count(1)
    await expect(page.get_by_text("before the restart")).to_have_count(1)
    await expect(state(page)).to_have_attribute("data-state", "live")

    assert gateway.stop() == 0
    await expect(state(page)).to_have_attribute("data-state", "lost")
    gateway.start()
    gateway.call("POST", "/api/tasks", {"input": "after a stop and a start"})

    await expect(page.get_by_text("after a stop and a start")).to_have_count(1)
    await expect(page.get_by_text("after the restart")).to_have_count(1)
    await expect(state(page)).to_have_attribute("data-state", "live")
    assert await page.evaluate("globalThis.isSamePage")


async def test_a_page_without_network_says_so_and_catches_up_when_it_is_back(
    moongate: Serving, dashboard: Dashboard
) -> None:
    dashboard.expect_lost_connection()
    page = await dashboard(moongate, "/runs")
    await submit(moongate, "before the cut")
    await expect(page.get_by_text("before the cut")).to_have_count(1)

    await page.context.set_offline(True)
    await expect(state(page)).to_have_attribute("data-state", "lost")
    await expect(state(page)).to_contain_text(re.compile("lost|offline|no connection", re.IGNORECASE))
    await submit(moongate, "during the cut")
    await page.context.set_offline(False)

    await expect(page.get_by_text("during the cut")).to_have_count(1)
    await expect(state(page)).to_have_attribute("data-state", "live")
    await expect(page.get_by_text("before the cut")).to_have_count(1)


async def test_a_page_has_one_live_connection_and_none_while_it_is_hidden(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, "/runs")
    await submit(moongate, "a change that it has seen")
    await expect(page.get_by_text("a change that it has seen")).to_have_count(1)
    opened: list[str] = []
    page.on("request", lambda request: opened.append(request.url) if "/api/events" in request.url else None)

    await page.goto(f"{moongate.url}/#/agents")
    await shown(page, "Agents")
    await page.goto(f"{moongate.url}/#/")
    await shown(page, "Now")
    assert opened == []

    hide = "value => { Object.defineProperty(document, 'hidden', { value, configurable: true });"
    hide += " document.dispatchEvent(new Event('visibilitychange')) }"
    await page.evaluate(hide, True)
    await expect(state(page)).to_have_attribute("data-state", "paused")
    await page.evaluate(hide, False)
    await expect(state(page)).to_have_attribute("data-state", "live")
    assert len(opened) == 1
    assert "after=" in opened[0]
