"""Markdown of agents in the browser: it is rendered while it is being written."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.support.browser import Dashboard, shown
from tests.support.inprocess import Serving

GROW = """async (pieces) => {
    const { growingMarkdown } = await import(new URL('parts/markdown.js', document.querySelector('script').src));
    window.growing ??= growingMarkdown();
    document.querySelector('#content').append(window.growing.element);
    for (const piece of pieces) window.growing.append(piece);
}"""


async def open_page(served: Serving, dashboard: Dashboard) -> Page:
    page = await dashboard(served, "/search")
    await shown(page, "Search")
    return page


async def test_paragraphs_are_rendered_as_soon_as_they_are_finished_and_the_rest_stays_plain(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await open_page(moongate, dashboard)
    prose = page.locator(".prose")

    await page.evaluate(GROW, ["**one**\n\n- a\n\n", "- b\n\nThe **second", " para"])
    await expect(prose.locator("strong")).to_have_text("one")
    await expect(prose.locator("ul")).to_have_count(1)
    await expect(prose.locator(".plain-text")).to_have_text("The **second para")
    await page.evaluate(GROW, ["graph**"])
    await page.evaluate("window.growing.end()")

    await expect(prose.locator("strong")).to_have_text(["one", "second paragraph"])
    await expect(prose.locator(".plain-text")).to_be_hidden()


async def test_code_is_not_cut_at_its_empty_lines_and_can_be_copied(moongate: Serving, dashboard: Dashboard) -> None:
    page = await open_page(moongate, dashboard)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    await page.evaluate(GROW, ["Look:\n\n```\none\n\ntwo\n```\n\nThat is all", "."])
    code = page.locator(".prose pre")
    await expect(code).to_have_text("one\n\ntwo\n")
    await page.locator(".code-frame").hover()
    await page.locator(".code-frame").get_by_role("button", name="Copy").click()

    await expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == "one\n\ntwo\n"
