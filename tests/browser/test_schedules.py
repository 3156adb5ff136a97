"""Schedules in the browser: made, watched, changed and run."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page, expect

from tests.support.browser import Dashboard, shown
from tests.support.inprocess import Serving


async def make_schedule(served: Serving, **fields: Any) -> str:
    async with served.client.post("/api/cron/create", json=fields) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["job"]["id"])


async def fill_new_schedule(page: Page, prompt: str) -> None:
    await page.get_by_role("button", name="New schedule").click()
    await page.get_by_label("What shall the agent do?").fill(prompt)


async def test_a_schedule_for_weekdays_is_made_run_paused_changed_and_deleted(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, "/schedules")
    await expect(page.get_by_text("No schedule yet.")).to_be_visible()
    form = page.get_by_role("dialog")

    await fill_new_schedule(page, "Summarise my inbox\nand be short")
    await page.get_by_label("Time zone").fill("Europe/Berlin")
    preview = form.get_by_role("status", name="Next times")
    await expect(preview.get_by_text("0 9 * * 1-5")).to_be_visible()
    await expect(preview.get_by_role("listitem")).to_have_count(5)
    await expect(preview.get_by_role("listitem").first).to_contain_text("09:00")
    await page.get_by_role("button", name="Make the schedule").click()

    row = page.locator(".schedule")
    await expect(row).to_contain_text("Weekdays at 09:00")
    await expect(row).to_contain_text("Europe/Berlin")
    await expect(row.get_by_role("listitem")).to_have_count(4)
    await row.get_by_role("button", name="Run now").click()
    await expect(page.get_by_text("echo: Summarise my inbox")).to_be_visible()
    await page.go_back()
    await expect(row.locator(".mark[data-status=succeeded]")).to_have_count(1)

    await row.get_by_role("button", name="Pause").click()
    await expect(row).to_contain_text("Paused")
    await row.get_by_role("button", name="Resume").click()
    await expect(row).not_to_contain_text("Paused")

    await row.get_by_role("button", name="Edit").click()
    await form.get_by_role("button", name="Every day").click()
    await form.get_by_label("At", exact=True).fill("18:30")
    async with page.expect_request(lambda request: request.method == "PATCH") as sent:
        await form.get_by_role("button", name="Save").click()
    assert (await sent.value).post_data_json == {"schedule": "30 18 * * *"}
    await expect(row).to_contain_text("Every day at 18:30")

    await row.get_by_role("button", name="Delete").click()
    await form.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.get_by_text("No schedule yet.")).to_be_visible()


async def test_what_is_wrong_is_said_under_its_field_and_nothing_is_lost(
    moongate: Serving, dashboard: Dashboard
) -> None:
    dashboard.expect_refusals(400, "/api/cron/next", times=2)
    dashboard.expect_refusals(400, "/api/cron/create", times=2)
    page = await dashboard(moongate, "/schedules")
    form = page.get_by_role("dialog")
    make = page.get_by_role("button", name="Make the schedule")

    await fill_new_schedule(page, "count the stars")
    await form.get_by_role("button", name="Cron").click()
    await form.get_by_label("Cron expression").fill("0 9 * *")
    wrong = form.locator("[data-problem~=schedule]")
    await expect(wrong).to_contain_text("is not a cron expression of five fields")
    await make.click()
    await expect(wrong).to_contain_text("is not a cron expression of five fields")
    await form.get_by_label("Cron expression").fill("30 2 * * sun")
    await expect(wrong).to_be_empty()
    await expect(form.get_by_text("Sun at 02:30")).to_be_visible()

    await form.get_by_label("Time zone").fill("Europe/Nowhere")
    await expect(form.locator("[data-problem=timezone]")).to_contain_text("use an IANA name")
    await form.get_by_label("Time zone").fill("UTC")
    await expect(form.locator("[data-problem=timezone]")).to_be_empty()

    await form.get_by_label("Webhook", exact=False).first.fill("https://user:word@example.org/hook")
    await make.click()
    await expect(form.locator("[data-problem=webhook]")).not_to_be_empty()
    await expect(form.get_by_label("What shall the agent do?")).to_have_value("count the stars")
    await form.get_by_label("Webhook", exact=False).first.fill("")
    await make.click()
    await expect(page.locator(".schedule")).to_contain_text("count the stars")


async def test_skipped_times_are_shown_with_the_reason_while_they_happen(
    moongate: Serving, dashboard: Dashboard
) -> None:
    made = await make_schedule(moongate, name="Busy", schedule="every 1s", prompt="@@ hang", overlap="skip")
    high = {"width": 1280, "height": 4000}  # what is out of sight is not in the page
    page = await dashboard(moongate, "/schedules", scope="read", viewport=high)
    row = page.locator(".schedule")
    await expect(row).to_contain_text("Every second")

    await expect(row).to_contain_text("skipped: ")
    await expect(row.locator(".mark[data-status=skipped]").first).to_be_visible()
    await expect(page.get_by_role("button", name="New schedule")).to_have_count(0)
    await row.get_by_role("link", name="Busy").click()
    await expect(page).to_have_url(f"{moongate.url}/#/schedules/{made}")
    await expect(page.locator(".fires-table .row", has_text="Skipped").first).to_contain_text("earlier")
    await expect(page.locator(".fires-table .row", has_text="Running").get_by_role("link", name="Open")).to_be_visible()


async def test_a_schedule_that_failed_too_often_says_why_it_stopped(moongate: Serving, dashboard: Dashboard) -> None:
    made = await make_schedule(
        moongate, schedule="0 0 1 1 *", prompt="@@ fail no more paper", max_failures=1, webhook="https://example.org/"
    )
    page = await dashboard(moongate, f"/schedules/{made}")
    await shown(page, "Schedules")
    await expect(page.get_by_text("On day 1 of the month in Jan at 00:00")).to_be_visible()

    async with moongate.client.post("/api/cron/trigger", json={"job_id": made}) as answer:
        assert answer.status == 200
    await expect(page.locator(".schedule-reason")).to_contain_text("no more paper")
    await expect(page.get_by_text("Stopped", exact=True)).to_be_visible()
    await expect(page.locator(".fires-table .row", has_text="Failed")).to_contain_text(
        "Started by hand · no more paper"
    )


async def test_expressions_come_back_as_the_choice_that_made_them(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/schedules")
    await shown(page, "Schedules")
    expressions = {
        "0 9 * * 1-5": ["weekdays", "Weekdays at 09:00"],
        "5 0 * * *": ["daily", "Every day at 00:05"],
        "30 18 * * 1,0": ["weekly", "Mon, Sun at 18:30"],
        "every 15m": ["interval", "Every 15 minutes"],
        "every 1h": ["interval", "Every hour"],
        "2031-07-01T09:00:00+02:00": ["once", "Once, 2031-07-01 09:00"],
        "2031-01-01T09:00:00+01:00": ["once", "Once, 2031-01-01 09:00"],
        "*/5 * * * *": ["cron", "Every 5 minutes"],
        "7 * * * *": ["cron", "Every hour at :07"],
        "0 8-18 * * mon-fri": ["cron", "Weekdays every hour from 08:00 to 18:00"],
        "0 9,17 1,15 * *": ["cron", "On day 1, 15 of the month at 09:00, 17:00"],
        "@weekly": ["cron", "Sun at 00:00"],
        "0 9 1 * 1": ["cron", "0 9 1 * 1"],
        "61 9 * * *": ["cron", "61 9 * * *"],
        "not one": ["cron", "not one"],
    }
    found = await page.evaluate(
        """async ([expressions, zone]) => {
            const base = document.querySelector('script[src]').src;
            const { describe, makeExpression, readExpression } = await import(new URL('schedules/timing.js', base));
            return expressions.map((one) => {
                const choice = readExpression(one, zone);
                return [one, [choice.kind, describe(one, zone)], makeExpression(choice, zone)];
            });
        }""",
        [list(expressions), "Europe/Berlin"],
    )
    assert {one: told for one, told, _ in found} == expressions
    assert [made for _, _, made in found] == list(expressions)
