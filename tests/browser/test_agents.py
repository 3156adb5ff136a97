"""The agents in the browser."""

from __future__ import annotations

from playwright.async_api import Locator, Page, Route, expect

from tests.api.client import ask
from tests.browser.elsewhere import call, submit
from tests.support.browser import Dashboard
from tests.support.inprocess import Serving


def agent(page: Page, name: str) -> Locator:
    return page.locator(".agent", has=page.get_by_role("heading", level=2, name=name, exact=True))


async def test_an_agent_is_added_edited_disabled_and_deleted(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/agents")
    await page.get_by_role("button", name="Add an agent").click()
    form = page.get_by_role("dialog")
    await form.get_by_label("Short name").fill("writer")
    await form.get_by_label("Name", exact=True).fill("The writer")
    await form.get_by_label("System prompt").fill("You write.")
    await form.get_by_role("button", name="Save").click()
    writer = agent(page, "The writer")
    await writer.get_by_text("Could it answer now?").click()
    await expect(writer.get_by_role("status")).to_contain_text("Yes")
    await expect(writer.locator(".agent-prompt")).to_have_text("You write.")

    await writer.get_by_role("button", name="Edit").click()
    await form.get_by_label("Name", exact=True).fill("The author")
    await form.get_by_role("button", name="Save").click()
    author = agent(page, "The author")
    await author.get_by_role("button", name="Disable").click()
    await expect(author).to_contain_text("Disabled")
    refused = await ask(moongate, "POST", "/api/tasks", {"input": "hi", "agentId": "writer"})
    assert "disabled" in refused.message
    await author.get_by_role("button", name="Enable").click()
    await expect(author).to_contain_text("Idle")
    await submit(moongate, "hi", agentId="writer")
    await expect(author.locator(".bars a")).to_have_count(1)

    await author.get_by_role("button", name="Delete").click()
    await form.get_by_role("button", name="Delete").click()
    await expect(author).to_have_count(0)
    assert [one["id"] for one in (await call(moongate, "GET", "/api/agents"))["agents"]] == ["main"]


async def test_an_agent_is_added_before_the_others_are_shown(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/runs")
    held: list[Route] = []
    await page.route("**/api/agents/outcomes*", lambda route: held.append(route))
    await page.goto(f"{moongate.url}/#/agents")
    await page.get_by_role("button", name="Add an agent").click()
    form = page.get_by_role("dialog")
    await expect(form.get_by_role("combobox", name="Builds on")).to_have_value("main")
    await form.get_by_label("Short name").fill("writer")
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_have_count(0)
    for route in held:
        await route.continue_()
    await page.unroute("**/api/agents/outcomes*")

    await expect(agent(page, "writer")).to_be_visible()


async def test_an_agent_that_cannot_be_saved_keeps_what_was_typed(moongate: Serving, dashboard: Dashboard) -> None:
    await call(moongate, "POST", "/api/agents", {"slug": "writer", "base": "main"})
    dashboard.expect_refusals(409, "/api/agents")
    page = await dashboard(moongate, "/agents")
    await page.get_by_role("button", name="Add an agent").click()
    form = page.get_by_role("dialog")
    await form.get_by_label("Short name").fill("writer")
    await form.get_by_label("System prompt").fill("You write.")
    await form.get_by_role("button", name="Save").click()

    await expect(form.get_by_role("alert").filter(has_text="writer")).to_be_visible()
    await expect(form.get_by_label("System prompt")).to_have_value("You write.")
    await form.get_by_label("Short name").fill("author")
    await form.get_by_role("button", name="Save").click()
    await expect(agent(page, "author")).to_be_visible()


async def test_an_agent_of_the_config_file_says_how_it_is_disabled(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, "/agents/main")

    await expect(agent(page, "main").get_by_role("status")).to_contain_text("Yes")
    await agent(page, "main").get_by_role("button", name="in the config file").click()

    await expect(page.get_by_role("dialog")).to_contain_text('"enabled": false')
    await page.get_by_role("dialog").get_by_role("link", name="System").click()
    await expect(page.get_by_role("button", name="Restart")).to_be_visible()
    await expect(page.get_by_role("dialog")).to_have_count(0)
