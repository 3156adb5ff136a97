"""What needs a person, in the browser: it comes by itself, is answered there, and goes by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import expect

from harness.waiting import until
from harness.webhook_receiver import serve_receiver
from tests.browser.elsewhere import call, read_ended_task, section, submit
from tests.support.browser import Dashboard, shown
from tests.support.inprocess import Serving, serving

QUESTION = (
    '@@ question {"message": "Where to?", "fields": [{"name": "city", "title": "City", "type": "text", '
    '"required": true}]}'
)


@pytest_asyncio.fixture(loop_scope="session")
async def moongate(tmp_path: Path) -> AsyncIterator[Serving]:
    """A gateway whose agent asks people, and has two slots."""
    agent = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
    async with serving(tmp_path / "home", {"agents": {"list": [{**agent, "max_concurrent": 2}]}}) as served:
        yield served


async def test_a_permission_is_answered_and_one_that_is_answered_elsewhere_goes_away(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate)
    await shown(page, "Now")
    await expect(page.get_by_text("Nothing waits for you.")).to_be_visible()

    first = await submit(moongate, "@@ ask delete the old backups")
    second = await submit(moongate, "@@ ask buy a domain")
    cards = page.locator(".permission")
    await expect(cards).to_have_count(2)
    await expect(page.get_by_role("link", name="Now")).to_contain_text("2")
    await expect(page).to_have_title("(2) Now · Moongate")
    await cards.filter(has_text="delete the old backups").get_by_role("button", name="Allow", exact=True).click()
    await expect(cards).to_have_count(1)
    await call(moongate, "POST", f"/api/tasks/{second}/permissions/p1", {"answer": "deny"})
    await expect(page.get_by_text("Nothing waits for you.")).to_be_visible()

    await expect(page).to_have_title("Now · Moongate")
    await expect(section(page, "At work").get_by_text("No agent is at work.")).to_be_visible()
    assert (await read_ended_task(moongate, first))["result"] == "allow"
    assert (await read_ended_task(moongate, second))["result"] == "deny"


async def test_a_question_is_answered_and_keeps_what_is_typed_while_others_come_and_go(
    moongate: Serving, dashboard: Dashboard
) -> None:
    run = await submit(moongate, QUESTION)
    page = await dashboard(moongate)
    city = page.get_by_label("City")
    await city.fill("Berl")

    other = await submit(moongate, "@@ ask go on")
    await expect(page.locator(".permission")).to_have_count(2)
    await call(moongate, "POST", f"/api/tasks/{other}/cancel")
    await expect(page.locator(".permission")).to_have_count(1)
    await city.press("End")
    await city.press_sequentially("in")
    await city.press("Enter")

    await expect(page.get_by_text("Nothing waits for you.")).to_be_visible()
    assert (await read_ended_task(moongate, run))["result"] == '{"city":"Berlin"}'


async def test_a_dead_letter_is_sent_again(moongate: Serving, dashboard: Dashboard) -> None:
    async with serve_receiver("410") as receiver:
        page = await dashboard(moongate)
        await submit(moongate, "@@ say hi", webhook=receiver.url)
        letter = page.locator(".need").filter(has_text="answered 410")
        await expect(page.get_by_role("link", name="Now")).to_contain_text("1")

        await letter.get_by_role("button", name="Send again").click()

        await expect(letter).to_have_count(0)
        await expect(page.get_by_text("Nothing waits for you.")).to_be_visible()
        await expect(page.get_by_role("link", name="Now")).not_to_contain_text("1")
        await until(lambda: len(receiver.requests) == 2, "it is sent again")


async def test_runs_come_go_and_are_cancelled_and_run_again(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate)
    older = await submit(moongate, "@@ hang older")
    await submit(moongate, "@@ hang newer")
    await submit(moongate, "@@ fail no such host")
    work, waits, failed = section(page, "At work"), section(page, "Waiting"), section(page, "Failed last")
    await expect(work.locator("li")).to_have_count(2)
    await expect(waits.locator("li")).to_contain_text("is at work on 2 of 2 runs")

    await call(moongate, "POST", f"/api/tasks/{older}/cancel")
    await expect(work.locator("li")).to_have_count(1)
    await expect(failed.locator("li")).to_contain_text("no such host")
    await failed.get_by_role("button", name="Run again").click()
    await expect(failed.locator("li")).to_have_count(2)
    await work.get_by_role("button", name="Cancel").click()
    await expect(work.get_by_text("No agent is at work.")).to_be_visible()


async def test_what_comes_next_is_told_by_the_name_or_the_prompt_of_its_schedule(
    moongate: Serving, dashboard: Dashboard
) -> None:
    named = {"name": "backup", "prompt": "Make a backup", "schedule": "every 1h"}
    for job in (named, {"prompt": "Say good morning\nto all", "schedule": "every 2h"}):
        await call(moongate, "POST", "/api/cron/create", job)
    page = await dashboard(moongate, "/")

    await expect(page.locator(".now-next a")).to_have_text(["backup", "Say good morning"])
