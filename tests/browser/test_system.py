"""The gateway itself in the browser: restarts, the doctor, tokens and the log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from gateway.backup import status
from gateway.domain.alert import AlertUpdate, OpenAlert
from gateway.domain.times import wall_clock
from harness.live_gateway import Live
from tests.api.client import ask, token
from tests.browser.elsewhere import section
from tests.support.browser import Dashboard
from tests.support.inprocess import Serving


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A gateway with its own processes."""
    started = Live(tmp_path / "home").start()
    yield started
    started.close()


#: keeps the texts of the toasts, which go by themselves
NOTE_TOASTS = """() => {
    window.toasts = [];
    const note = (change) => change.addedNodes.forEach((toast) => window.toasts.push(toast.textContent));
    const observer = new MutationObserver((changes) => changes.forEach(note));
    observer.observe(document.getElementById("toasts"), {childList: true});
}"""


async def test_an_open_page_goes_on_over_a_restart_and_does_nothing_twice(live: Live, dashboard: Dashboard) -> None:
    dashboard.expect_lost_connection()
    page = await dashboard(live, "/runs")
    other = await dashboard(live, "/system")
    await expect(other.locator(".system-facts")).to_contain_text("1")
    call = lambda *given: asyncio.to_thread(live.call, *given)  # noqa: E731
    await call("POST", "/api/tasks", {"input": "before"})
    await expect(page.locator(".rows .row")).to_have_count(1)

    async def answer_slowly(route: Route) -> None:
        await asyncio.sleep(1.2)  # longer than the pause between two looks
        await route.continue_()

    await other.evaluate(NOTE_TOASTS)
    await other.route("**/health", answer_slowly)
    await other.get_by_role("button", name="Restart").click()
    await other.get_by_role("dialog").get_by_role("button", name="Restart").click()
    await expect(other.get_by_text("Generation 2 serves")).to_be_visible()
    await expect(other.get_by_role("dialog")).to_have_count(0)
    await other.unroute_all(behavior="ignoreErrors")
    await call("POST", "/api/tasks", {"input": "after"})

    await expect(page.locator(".rows .row")).to_have_count(2)
    await expect(page.locator(".rows .row").first).to_contain_text("after")
    await expect(page.locator(".live")).to_have_text("Live")
    await expect(other.locator(".generations li")).to_have_count(2)
    toasts = await other.evaluate("toasts")
    assert len([text for text in toasts if "Generation 2 serves" in text]) == 1
    found = await call("GET", "/api/tasks")
    assert [one["input"] for one in found.body["tasks"]] == ["after", "before"]


async def test_what_alerts_told_is_shown_while_it_lasts(moongate: Serving, dashboard: Dashboard) -> None:
    store = moongate.engine.alert_book._store
    low = OpenAlert(kind="disk", subject="data", text="3 MB left", opened=wall_clock(), told=wall_clock())
    await store.alerts.save(AlertUpdate(revision=0, position=0, opened=[low]))
    page = await dashboard(moongate, "/system")

    await expect(section(page, "What alerts told and is not over")).to_contain_text("disk 3 MB left")


async def test_a_token_is_made_shown_once_and_revoked(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/system")
    tokens = section(page, "Who may come in")
    await tokens.get_by_role("button", name="Make a token").click()
    form = page.get_by_role("dialog")
    await form.get_by_label("Name").fill("phone")
    await form.get_by_label("What it may do").select_option("read")
    await form.get_by_role("button", name="Make a token").click()
    await expect(form).to_contain_text("It is shown only now")
    secret = await form.locator("pre").inner_text()
    await form.get_by_role("button", name="Close").last.click()
    row = tokens.locator("li").filter(has_text="phone")
    await expect(row).to_contain_text("May look")
    assert (await ask(moongate, "GET", "/api/me", token=secret)).body["scope"] == "read"

    await row.get_by_role("button", name="Revoke").click()
    await form.get_by_role("button", name="Revoke").click()

    await expect(row).to_have_count(0)
    assert (await ask(moongate, "GET", "/api/me", token=secret)).status == 401


async def test_the_doctor_says_what_it_finds(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/system")
    doctor = section(page, "Doctor")

    await doctor.get_by_role("button", name="Examine").click()

    await expect(doctor.locator(".findings li").first).to_be_visible()


async def test_the_log_grows_and_is_filtered(live: Live, dashboard: Dashboard) -> None:
    page = await dashboard(live, "/system")
    await page.get_by_role("heading", name="Log", exact=True).click()
    lines = page.get_by_role("log").locator("p")
    await expect(lines.filter(has_text="generation")).not_to_have_count(0)

    await asyncio.to_thread(live.call, "POST", "/api/tasks", {"input": "@@ fail the disk is full"})
    await expect(lines.filter(has_text="the disk is full").first).to_be_visible()
    await page.get_by_role("searchbox", name="Words in the lines").fill("disk is full")
    await expect(lines.filter(has_not_text="disk is full")).to_have_count(0)
    await page.get_by_role("searchbox", name="Words in the lines").fill("")
    await page.get_by_role("button", name="warning", exact=True).click()

    await expect(lines.filter(has_text="the disk is full").first).to_be_visible()
    await expect(page.locator(".log p[data-level=info]")).to_have_count(0)


async def test_who_did_what_is_listed_with_the_last_use_of_tokens(moongate: Serving, dashboard: Dashboard) -> None:
    secret = await token(moongate, "curious", "read")
    await ask(moongate, "GET", "/api/tasks", token=secret)
    page = await dashboard(moongate, "/system")
    await page.get_by_text("Who did what").click()
    entry = page.locator("details li").filter(has_text="token.created")

    await expect(entry).to_contain_text("curious")
    await expect(section(page, "Who may come in").locator("li").filter(has_text="curious")).to_contain_text("used ")


async def test_the_last_backup_and_a_failure_after_it_are_shown(live: Live, dashboard: Dashboard) -> None:
    status.record_success(live.home, live.home / "backups" / "one.tar.gz", 1_500_000)
    page = await dashboard(live, "/system")
    facts = page.locator(".system-facts")
    await expect(facts).to_contain_text("Last backup")
    await expect(facts).to_contain_text("1.5 MB")

    await asyncio.to_thread(status.record_failure, live.home, "the disk is full.")
    await page.reload()

    await expect(facts).to_contain_text("the disk is full.")
