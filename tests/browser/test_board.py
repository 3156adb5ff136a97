"""The board of a project in the browser: cards move by themselves, by hand, and from elsewhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.browser.elsewhere import call, list_tasks, read_task, submit
from tests.support.browser import Dashboard
from tests.support.inprocess import Serving, serving

SITE = {"project": "site"}


@pytest_asyncio.fixture(loop_scope="session")
async def moongate(tmp_path: Path) -> AsyncIterator[Serving]:
    """A gateway with a project, whose agent asks people."""
    agent = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
    async with serving(tmp_path / "home", {"agents": {"list": [{**agent, "max_concurrent": 4}]}}) as served:
        await call(served, "POST", "/api/projects", {"slug": "site", "name": "Website", "note": "All about the site."})
        yield served


def column(page: Page, name: str) -> Locator:
    return page.locator(f".column[data-column={name}]")


def card(page: Page, name: str, text: str) -> Locator:
    return column(page, name).locator(".board-card").filter(has_text=text)


async def add_card(page: Page, text: str, when: str = "Plan it") -> None:
    dialog = page.get_by_role("dialog", name=re.compile("Add a"))
    await dialog.get_by_label("What is to be done?").fill(text)
    await dialog.get_by_label(when).check()
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)


async def test_a_project_is_made_filled_and_deleted(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/board")
    await expect(page.get_by_text("All about the site.")).to_be_visible()
    await page.get_by_role("button", name="New project").click()
    await page.get_by_role("dialog").get_by_label("Name", exact=True).fill("Zürich trip")
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    await expect(page).to_have_url(re.compile("#/board/zu-?rich-trip$"))
    await page.get_by_role("button", name="Add a card").click()
    await add_card(page, "book a hotel")
    await expect(card(page, "planned", "book a hotel")).to_be_visible()

    await page.get_by_role("button", name="Edit the project").click()
    await page.get_by_role("dialog").get_by_label("Name", exact=True).fill("Trip to Zürich")
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    await expect(page.get_by_role("combobox", name="Project").locator("option:checked")).to_have_text("Trip to Zürich")
    await page.get_by_role("button", name="Delete the project").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()

    await expect(page).to_have_url(re.compile("#/board/site$"))
    await expect(page.get_by_text("All about the site.")).to_be_visible()
    assert [one["input"] for one in await list_tasks(moongate)] == ["book a hotel"], "its runs stay"
    await page.goto(f"{moongate.url}/#/board/none")
    await expect(page.get_by_text("There is no project none.")).to_be_visible()


async def test_a_card_is_started_and_stopped_by_dragging(moongate: Serving, dashboard: Dashboard) -> None:
    run = await submit(moongate, "@@ hang paint it", labels=SITE, held=True)
    page = await dashboard(moongate, "/board/site")

    await card(page, "planned", "paint it").drag_to(column(page, "running"))
    await expect(card(page, "running", "paint it")).to_be_visible()
    await expect(column(page, "planned").locator(".board-card")).to_have_count(0)
    await card(page, "running", "paint it").drag_to(column(page, "failed"))

    await expect(card(page, "failed", "paint it")).to_contain_text("Cancelled")
    assert (await read_task(moongate, run))["status"] == "cancelled"


async def test_cards_of_another_client_come_and_move(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/board/site")
    await expect(column(page, "planned")).to_be_visible()

    run = await submit(moongate, "@@ ask deploy the site\n@@ say deployed", labels=SITE)
    await submit(moongate, "@@ fail no such host", labels=SITE)
    await submit(moongate, "something else")
    await expect(card(page, "needs", "deploy the site")).to_be_visible()
    await expect(card(page, "failed", "no such host")).to_be_visible()
    await call(moongate, "POST", f"/api/tasks/{run}/permissions/p1", {"answer": "allow"})

    await expect(card(page, "done", "deploy the site")).to_be_visible()
    await expect(page.locator(".board-card")).to_have_count(2)


async def test_a_card_is_started_answered_and_talked_to_by_keyboard(moongate: Serving, dashboard: Dashboard) -> None:
    await submit(moongate, "@@ ask deploy it\n@@ say deployed", labels=SITE, held=True)
    page = await dashboard(moongate, "/board/site")
    await page.get_by_role("button", name="deploy it").press("Enter")
    side = page.get_by_role("dialog", name="Card")
    await side.get_by_role("button", name="Start").press("Enter")
    say = side.get_by_role("textbox", name="Say something to the agent")
    await say.fill("and tell")

    await side.get_by_role("button", name="Allow", exact=True).press("Enter")
    await expect(side.locator(".talk-list")).to_contain_text("allowdeployed")
    await expect(say).to_have_value("and tell")
    await say.press("End")
    await say.press_sequentially(" me")
    await say.press("Enter")

    await expect(side.locator(".talk-list")).to_contain_text("echo: and tell me")
    await expect(say).to_have_value("")
    await page.keyboard.press("Escape")
    await expect(side).to_have_count(0)
    await expect(card(page, "done", "deploy it")).to_be_visible()
    assert [one["input"] for one in await list_tasks(moongate)].count("and tell me") == 1


async def test_a_sub_task_stands_in_its_card(moongate: Serving, dashboard: Dashboard) -> None:
    parent = await submit(moongate, "build the house", labels=SITE, held=True)
    page = await dashboard(moongate, "/board/site")
    await page.get_by_role("button", name="build the house").click()
    await page.get_by_role("button", name="Add a sub-task").click()
    await add_card(page, "paint the door", "Start now")
    await page.keyboard.press("Escape")

    whole = card(page, "planned", "build the house")
    await expect(whole).to_contain_text("1 of 1 sub-tasks done")
    await whole.get_by_text("1 of 1 sub-tasks done").click()
    await expect(whole.get_by_role("button", name="paint the door")).to_be_visible()
    await expect(page.locator(".board-card")).to_have_count(1)
    part, *_ = await list_tasks(moongate)
    assert part["parent"] == parent

    await submit(moongate, "paint the wall", labels=SITE, parent=parent, held=True)
    await expect(whole).to_contain_text("1 of 2 sub-tasks done")
    await expect(whole.get_by_role("button", name="paint the door")).to_be_visible()  # what was opened stays open
