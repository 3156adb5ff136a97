"""The list of sessions in the browser."""

from __future__ import annotations

from playwright.async_api import expect

from tests.api.client import done
from tests.support.browser import Dashboard, shown
from tests.support.inprocess import Serving


async def submit(served: Serving, text: str, session: str) -> str:
    async with served.client.post("/api/tasks", json={"input": text, "session": session}) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["task"]["id"])


async def test_sessions_are_filtered_renamed_and_opened(moongate: Serving, dashboard: Dashboard) -> None:
    await submit(moongate, "about the backup", "main:webchat:one")
    await submit(moongate, "about the website", "main:telegram:two")
    page = await dashboard(moongate, "/sessions")
    await shown(page, "Sessions")
    rows = page.locator(".sessions-table .rows .row")
    await expect(rows).to_have_count(2)

    await page.get_by_label("Channel").fill("telegram")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("about the website")
    await rows.get_by_role("button", name="Rename").click()
    await page.get_by_role("textbox", name="Title").fill("The new site")
    await page.get_by_role("button", name="Save").click()
    await expect(rows).to_contain_text("The new site")

    await page.reload()
    await expect(rows).to_have_count(1)
    await rows.get_by_role("link", name="The new site").click()
    await expect(page.locator(".conversation h2")).to_have_text("The new site")


async def test_a_busy_session_is_deleted_only_after_asking_once_more(moongate: Serving, dashboard: Dashboard) -> None:
    run = await submit(moongate, "@@ hang", "main:webchat:busy")
    dashboard.expect_refusals(409, "/api/sessions/*")
    dashboard.allow_refusals(404, "/api/sessions/*")  # its last change may be looked at when it is gone
    page = await dashboard(moongate, "/sessions")
    row = page.locator(".sessions-table .rows .row")
    await expect(row).to_contain_text("1 at work")

    await row.get_by_role("button", name="Delete chat").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel and delete").click()

    await expect(row).to_have_count(0)
    await expect(page.get_by_text("A session begins with the first message")).to_be_visible()
    assert (await done(moongate, run))["status"] == "cancelled"


async def test_a_session_that_cannot_be_loaded_for_a_moment_stays_in_the_list(
    moongate: Serving, dashboard: Dashboard
) -> None:
    await submit(moongate, "about the backup", "main:webchat:one")
    page = await dashboard(moongate, "/sessions")
    rows = page.locator(".sessions-table .rows .row")
    await expect(rows).to_have_count(1)
    await expect(page.locator(".live[data-state=live]")).to_be_visible()
    dashboard.expect_refusals(503, "/api/sessions/*")
    await page.route("**/api/sessions/*", lambda route: route.fulfill(status=503, json={}), times=1)

    async with (
        page.expect_response(lambda answer: answer.status == 503),
        moongate.client.patch("/api/sessions/main:webchat:one", json={"title": "Backups"}) as answer,
    ):
        assert answer.status == 200, await answer.text()

    await expect(rows).to_contain_text("Backups")
