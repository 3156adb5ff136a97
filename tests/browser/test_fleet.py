"""The fleet in the browser: its nodes, what waits for each agent, and nothing of it where there is none."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.api.client import ask
from tests.browser.elsewhere import section
from tests.support import clients
from tests.support.browser import Dashboard, shown
from tests.support.dashboard_pages import PHONE, SCREEN
from tests.support.fleet_pair import Pair, serving_pair
from tests.support.inprocess import Serving


@pytest_asyncio.fixture(loop_scope="session")
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with serving_pair(tmp_path) as opened:
        yield opened


async def test_it_shows_who_is_there_and_follows_the_work(pair: Pair, dashboard: Dashboard) -> None:
    page = await dashboard(pair.gate)
    await page.get_by_role("navigation").get_by_role("link", name="Fleet").click()
    await shown(page, "Fleet")
    nodes = page.locator(".node")
    await expect(nodes).to_have_count(2)
    await expect(nodes.first).to_contain_text(re.compile("gate.*leads.*answers you", re.DOTALL))
    await expect(nodes.last).to_contain_text("0 of 1 at work")
    await expect(section(page, "Queues")).to_contain_text("Nothing runs or waits.")

    first, *_ = await pair.submit_three()

    await expect(nodes.last).to_contain_text("1 of 1 at work")
    row = section(page, "Queues").get_by_role("row", name=re.compile("^main"))
    await expect(row.get_by_role("cell").nth(0)).to_have_text("1")
    await expect(row.get_by_role("cell").nth(1)).to_have_text("1")
    await expect(row.get_by_role("cell").nth(2)).to_have_text("1")
    await ask(pair.gate, "POST", f"/api/tasks/{first}/cancel")
    await expect(row.get_by_role("cell").nth(2)).to_have_text("0")


async def test_a_node_that_has_died_is_shown_as_gone(pair: Pair, dashboard: Dashboard) -> None:
    pair.database.execute(  # another one than the worker, which renews its lease
        "INSERT INTO moongate.nodes (name, host, role, version, agents, slots, started, lease)"
        " SELECT 'lost', 'lost', role, version, agents, slots, started + 1, lease FROM moongate.nodes"
        " WHERE host = 'hand'"
    )
    page = await dashboard(pair.gate, "/fleet")
    lost = page.locator(".node").filter(has_text="lost")
    await expect(lost).to_contain_text("Alive")

    pair.database.execute("UPDATE moongate.nodes SET lease = lease - 3600000 WHERE host = 'lost'")

    await expect(lost).to_contain_text(re.compile("Gone.*Lease ended 59m", re.DOTALL))
    await expect(page.locator(".fleet-facts")).to_contain_text("2 members")


async def test_it_says_where_the_limits_of_an_agent_differ(pair: Pair, dashboard: Dashboard) -> None:
    page = await dashboard(pair.gate, "/fleet")
    await expect(page.locator(".node")).to_have_count(2)
    await expect(page.get_by_text("differ")).to_have_count(0)

    pair.database.execute(
        "INSERT INTO moongate.nodes (name, host, role, version, agents, slots, started, lease, limits)"
        " SELECT 'lost', 'third', role, version, agents, slots, started + 1, lease, %s FROM moongate.nodes"
        " WHERE host = 'hand'",
        ['[{"agent": "main", "max_concurrent": 1, "budget": {"runs": 20}}]'],
    )

    told = "main (gate: 2 at the same time; hand: 2 at the same time; third: 1 at the same time, 20 runs)"
    await expect(page.get_by_text(told)).to_be_visible()


async def test_a_task_says_that_it_waits_for_a_worker(pair: Pair, dashboard: Dashboard) -> None:
    _, waiting, _ = await pair.submit_three()

    page = await dashboard(pair.gate, f"/runs/{waiting}")

    await expect(page.get_by_text("Waits: it waits for a free worker.")).to_be_visible()


async def test_a_gateway_that_is_alone_has_no_fleet_in_its_menu(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/fleet")

    await expect(page.get_by_text("This gateway is alone with its database.")).to_be_visible()
    await expect(page.get_by_role("navigation").get_by_role("link", name="System")).to_be_visible()
    await expect(page.get_by_role("navigation").get_by_role("link", name="Fleet")).to_have_count(0)


async def test_it_needs_no_more_width_than_there_is(pair: Pair, dashboard: Dashboard) -> None:
    await pair.submit_three()
    page = await dashboard(pair.gate, "/fleet")
    for width in (320, PHONE["width"], 800, SCREEN["width"]):
        await page.set_viewport_size({"width": width, "height": 800})
        await expect(page.locator(".node")).to_have_count(2)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.clients
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_on_it(pair: Pair, dashboard: Dashboard, scheme: str) -> None:
    axe = (clients.node_package("axe-core") / "axe.min.js").read_text()
    await pair.submit_three()
    page = await dashboard(pair.gate, "/fleet", color_scheme=scheme, bypass_csp=True)
    await expect(page.locator(".node")).to_have_count(2)
    await page.evaluate(axe)

    assert (await page.evaluate("axe.run()"))["violations"] == []
