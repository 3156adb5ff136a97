"""One run in the browser: its timeline, its answer, and what can be done with it."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.browser.elsewhere import call, list_tasks, read_task, section, submit
from tests.support.browser import Dashboard
from tests.support.inprocess import Serving, serving

HOSTILE = """hostile words

<script>window.harmed = 1</script><img src=x onerror="window.harmed = 1">

![beacon](http://other.invalid/beacon.png) [run](javascript:window.harmed=1) [data](data:text/html,x)

<svg onload="window.harmed = 1"><style>body { display: none }</style></svg> [fine](https://example.com/)

<p style="position:fixed" onclick="window.harmed=1">last words</p>"""


@pytest_asyncio.fixture(loop_scope="session")
async def moongate(tmp_path: Path) -> AsyncIterator[Serving]:
    """A gateway whose agent asks people."""
    agent = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
    async with serving(tmp_path / "home", {"agents": {"list": [agent]}}) as served:
        yield served


def group(page: Page, kind: str) -> Locator:
    return page.locator(f".step[data-kind={kind}]")


async def test_a_run_grows_while_it_is_shown_and_is_answered_there(moongate: Serving, dashboard: Dashboard) -> None:
    run = await submit(
        moongate, "@@ tool search the forecast\n@@ say It rains.\n@@ ask send an umbrella\n@@ say **Sent.**"
    )
    page = await dashboard(moongate, f"/runs/{run}")
    await expect(group(page, "tool")).to_contain_text("search")
    await expect(page.locator(".talk .prose")).to_contain_text("It rains.")
    await group(page, "tool").click()
    await page.locator(".chosen-step summary").first.click()
    opened = page.locator(".chosen-step details[open]")
    await expect(opened).to_contain_text("the forecast")

    await page.locator(".permission").get_by_role("button", name="Allow", exact=True).click()

    await expect(page.locator(".talk .prose strong")).to_have_text("Sent.")
    await expect(page.locator(".permission")).to_have_count(0)
    await expect(group(page, "permission")).to_contain_text("send an umbrella")
    await expect(page.locator(".run-head")).to_contain_text("Succeeded")
    await expect(opened).to_contain_text("the forecast")
    await page.get_by_text("All events").click()
    await expect(page.locator(".events .event").last).to_contain_text("end")


async def test_a_permission_that_is_answered_elsewhere_can_be_answered_no_more(
    moongate: Serving, dashboard: Dashboard
) -> None:
    run = await submit(moongate, "@@ ask send it\n@@ hang")
    page = await dashboard(moongate, f"/runs/{run}")
    allow = page.get_by_role("button", name="Allow", exact=True)
    await expect(allow).to_be_visible()

    await call(moongate, "POST", f"/api/tasks/{run}/permissions/p1", {"answer": "deny"})

    await expect(allow).to_have_count(0)
    await expect(page.locator(".permission")).to_have_count(0)
    await group(page, "permission").click()
    await expect(page.locator(".chosen-step")).to_contain_text("deny by")


async def test_a_failure_says_why_and_is_run_again(moongate: Serving, dashboard: Dashboard) -> None:
    run = await submit(moongate, "@@ tool search nothing\n@@ fail the disk is full")
    page = await dashboard(moongate, f"/runs/{run}")
    await expect(page.get_by_role("alert")).to_contain_text("the disk is full")
    await expect(page.locator(".step[data-kind=attempt]")).to_contain_text("failed")

    await page.get_by_role("button", name="Run again").click()

    await expect(page.get_by_role("link", name="Repeats another run")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text("the disk is full")
    newest, *_ = await list_tasks(moongate)
    await expect(page).to_have_url(f"{moongate.url}/#/runs/{newest['id']}")
    assert newest["retry_of"] == run


async def test_a_run_is_cancelled_by_keyboard(moongate: Serving, dashboard: Dashboard) -> None:
    run = await submit(moongate, "@@ words 100000 0.05")
    page = await dashboard(moongate, f"/runs/{run}")
    cancel = page.locator(".run-head").get_by_role("button", name="Cancel")
    await expect(page.locator(".talk")).to_contain_text("w5")

    await cancel.focus()
    await expect(page.locator(".talk")).to_contain_text("w25")
    await expect(cancel).to_be_focused()
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).last.press("Enter")

    await expect(page.locator(".run-head")).to_contain_text("Cancelled")
    await expect(page.get_by_role("button", name="Run again")).to_be_visible()
    assert (await read_task(moongate, run))["status"] == "cancelled"


async def test_the_copied_curl_makes_the_same_run(moongate: Serving, dashboard: Dashboard) -> None:
    run = await submit(moongate, '@@ say it\'s "done"', labels={"project": "site"})
    page = await dashboard(moongate, f"/runs/{run}", permissions=["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy as curl").click()
    await expect(page.get_by_text("Copied")).to_be_visible()
    words = shlex.split(await page.evaluate("navigator.clipboard.readText()"))

    assert words[:3] == ["curl", "-s", f"{moongate.url}/api/tasks"]
    body = json.loads(words[words.index("-d") + 1])
    await call(moongate, "POST", "/api/tasks", body)
    newest, older = await list_tasks(moongate)
    assert older["id"] == run
    same = ("input", "agentId", "session", "labels")
    assert [newest[name] for name in same] == [older[name] for name in same]


async def test_hostile_markdown_does_nothing(moongate: Serving, dashboard: Dashboard) -> None:
    run = await submit(moongate, HOSTILE)
    page = await dashboard(moongate, f"/runs/{run}")
    answer = page.locator(".talk .prose")
    await expect(answer).to_contain_text("last words")

    await expect(
        answer.locator("script, img, svg, style, iframe, [onerror], [onload], [onclick], [style]")
    ).to_have_count(0)
    links = await answer.locator("a").evaluate_all("all => all.map((one) => [one.getAttribute('href'), one.rel])")
    assert ["https://example.com/", "noopener noreferrer"] in links
    assert all(href.startswith(("http://", "https://")) for href, _ in links)
    await expect(section(page, "Conversation")).to_be_visible()
    assert await page.evaluate("window.harmed") is None
