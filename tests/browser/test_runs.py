"""The list of runs in the browser."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from playwright.async_api import Locator, Page, Route, expect

from harness.waiting import PATIENCE
from tests.browser.elsewhere import call, list_tasks, read_task, submit
from tests.support.browser import Dashboard
from tests.support.inprocess import Serving, serving


@pytest_asyncio.fixture(loop_scope="session")
async def moongate(tmp_path: Path) -> AsyncIterator[Serving]:
    """A gateway with two agents."""
    agents: list[dict[str, Any]] = [{"id": name, "backend": "echo", "script": True} for name in ("main", "helper")]
    async with serving(tmp_path / "home", {"agents": {"list": agents}}) as served:
        yield served


def rows(page: Page) -> Locator:
    return page.locator(".runs-table .rows .row")


def agent(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Agent")


def state(page: Page, name: str) -> Locator:
    return page.locator(".states").get_by_role("button", name=name)


async def run_again(page: Page) -> None:
    """Press the button for the chosen runs, and say that it is meant."""
    await page.get_by_role("button", name="Run again").click()
    await page.get_by_role("dialog").get_by_role("button", name="Run again").click()


async def test_filters_are_in_the_address_and_survive_a_reload(moongate: Serving, dashboard: Dashboard) -> None:
    await submit(moongate, "@@ say the backup is done")
    await submit(moongate, "@@ fail the backup disk is full", agentId="helper")
    await submit(moongate, "@@ fail no such host")
    page = await dashboard(moongate, "/runs")
    await expect(rows(page)).to_have_count(3)
    await expect(state(page, "Failed")).to_contain_text("2")

    await state(page, "Failed").click()
    await expect(rows(page)).to_have_count(2)
    words = page.get_by_role("searchbox", name="Words in prompts and answers")
    await words.fill("backup")
    await expect(rows(page)).to_have_count(1)
    await agent(page).select_option("helper")
    await expect(page).to_have_url(re.compile("status=failed&text=backup&agent=helper"))
    await page.reload()

    await expect(rows(page)).to_have_count(1)
    await expect(rows(page)).to_contain_text("the backup disk is full")
    await expect(words).to_have_value("backup")
    await expect(agent(page)).to_have_value("helper")
    await agent(page).select_option("main")
    await page.get_by_role("button", name="Show all runs").click()
    await expect(rows(page)).to_have_count(3)
    await expect(words).to_have_value("")
    await expect(agent(page)).to_have_value("")


async def test_rows_and_counts_are_live(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/runs")
    await expect(page.get_by_text("No run yet.")).to_be_visible()

    older = await submit(moongate, "@@ hang older")
    await submit(moongate, "@@ hang newer", agentId="helper")
    await state(page, "Running").click()
    await expect(rows(page)).to_have_count(2)
    await call(moongate, "POST", f"/api/tasks/{older}/cancel")
    await submit(moongate, "@@ hang newest")

    await expect(rows(page)).to_have_count(2)
    await expect(rows(page).first).to_contain_text("newest")
    await expect(rows(page).last).to_contain_text("newer")
    await expect(state(page, "Cancelled")).to_contain_text("1")
    await expect(state(page, "Running")).to_contain_text("2")


async def test_chosen_runs_are_cancelled_and_all_that_match_run_again(moongate: Serving, dashboard: Dashboard) -> None:
    runs = [await submit(moongate, f"@@ hang {n}", session=f"s{n}") for n in range(4)]
    page = await dashboard(moongate, "/runs?agent=main")
    await expect(rows(page)).to_have_count(4)

    for text in ("@@ hang 1", "@@ hang 2"):
        await rows(page).filter(has_text=text).get_by_role("checkbox").check()
    chosen = page.get_by_role("region", name="2 selected")
    await chosen.get_by_role("button", name="Cancel", exact=True).click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).last.click()
    await expect(rows(page).filter(has_text="Cancelled")).to_have_count(2)
    assert [(await read_task(moongate, run))["status"] for run in runs].count("cancelled") == 2

    await state(page, "Cancelled").click()
    await expect(rows(page)).to_have_count(2)
    await rows(page).first.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Run all that match again").click()
    await page.get_by_role("dialog").get_by_role("button", name="Run again").click()
    await expect(page.get_by_text("2 begin again.")).to_be_visible()
    assert len(await list_tasks(moongate)) == 6


async def test_a_retry_whose_answer_is_lost_is_done_once_when_it_is_asked_for_again(
    moongate: Serving, dashboard: Dashboard
) -> None:
    await submit(moongate, "@@ fail for once")
    page = await dashboard(moongate, "/runs")
    dashboard.expect_lost_connection()
    lost: list[str] = []

    async def lose_answer(route: Route) -> None:
        if lost:
            await route.continue_()
            return
        await route.fetch()  # the gateway gets it, the page is not told
        lost.append(route.request.url)
        await route.abort()

    await page.route("**/api/tasks/batch", lose_answer)
    await rows(page).get_by_role("checkbox").check()
    await run_again(page)
    await expect(page.get_by_role("alert")).to_be_visible()  # until then, the button takes no second press
    await run_again(page)
    await expect(page.get_by_text("1 begins again.")).to_be_visible()

    assert len(lost) == 1
    assert len(await list_tasks(moongate)) == 2


async def test_scrolling_loads_page_after_page_and_the_keys_move_select_and_open(
    moongate: Serving, dashboard: Dashboard
) -> None:
    for n in range(250):  # one after the other: the list has their order
        await submit(moongate, f"run {n}", held=True)
    page = await dashboard(moongate, "/runs")
    await expect(rows(page).first).to_be_visible()
    last = rows(page).filter(has_text=re.compile(r"run 0$|run 0\D"))

    async with asyncio.timeout(PATIENCE):
        while not await last.count():
            await page.mouse.wheel(0, 100_000)
            await page.evaluate("() => new Promise(requestAnimationFrame)")
    await expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "250")
    assert await rows(page).count() < 100, "only the rows in sight are in the document"

    await page.evaluate("scrollTo(0, 0)")
    await expect(rows(page).first).to_contain_text("run 249")
    for key in "jjkjx":
        await page.keyboard.press(key)
    await expect(page.get_by_role("region", name="1 selected")).to_be_visible()
    await expect(page.locator(".row.current")).to_contain_text("run 248")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/runs/[0-9A-Z]{26}"))
    await expect(page.locator("h1")).to_have_text(re.compile("^Run [0-9A-Z]{6}$"))
    await expect(page.locator(".message.user")).to_have_text("run 248")


async def test_enter_presses_the_button_that_has_the_focus_and_not_the_row(
    moongate: Serving, dashboard: Dashboard
) -> None:
    await submit(moongate, "@@ hang 1")
    page = await dashboard(moongate, "/runs")
    await expect(rows(page)).to_have_count(1)

    await page.keyboard.press("j")
    await page.keyboard.press("x")
    await page.get_by_role("region").get_by_role("button", name="Cancel", exact=True).focus()
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("dialog")).to_contain_text("One run ends now")
