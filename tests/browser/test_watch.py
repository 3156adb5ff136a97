"""The fixture `dashboard` sees what must not happen on a page."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from harness.waiting import until
from tests.support.browser import Dashboard
from tests.support.inprocess import Serving


async def open_sign_in(served: Serving, dashboard: Dashboard) -> Page:
    dashboard.expect_refusals(401, "/api/me")
    page = await (await dashboard.make_context(served)).new_page()
    await page.goto(served.url)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page


@pytest.mark.parametrize(
    ("script", "trouble"),
    [
        ("console.error('a bad thing')", "console error: a bad thing"),
        ("console.warn('a doubtful thing')", "console warning: a doubtful thing"),
        ("setTimeout(() => { throw new Error('nobody catches it') })", "not caught: nobody catches it"),
        ("void Promise.reject(new Error('nobody awaits it'))", "not caught: nobody awaits it"),
        ("fetch('/api/tasks')", "401 from GET"),
        ("fetch('http://other.invalid/').catch(() => 0)", "Content Security Policy"),
        ("document.body.setAttribute('style', 'color: red')", "Content Security Policy"),
        ("try { document.body.innerHTML = '<p>x' } catch {}", "TrustedHTML"),
        ("new Image().src = 'http://other.invalid/beacon'", "Content Security Policy"),
    ],
)
async def test_what_must_not_happen_on_a_page_fails_its_test(
    moongate: Serving, dashboard: Dashboard, script: str, trouble: str
) -> None:
    page = await open_sign_in(moongate, dashboard)

    await page.evaluate(script)

    await until(lambda: any(trouble in one for one in dashboard.troubles), f"{trouble} is seen")
    with pytest.raises(AssertionError, match=trouble):
        dashboard.check()
    dashboard.troubles.clear()


async def test_an_expected_refusal_is_none_of_them_but_must_come(moongate: Serving, dashboard: Dashboard) -> None:
    page = await open_sign_in(moongate, dashboard)
    dashboard.expect_refusals(401, "/api/tasks/*")
    with pytest.raises(AssertionError, match="no answer 401 from /api/tasks/"):
        dashboard.check()

    await page.evaluate("fetch('/api/tasks/one')")
    await page.context.close()

    dashboard.check()
