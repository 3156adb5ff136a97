"""A browser whose token may not do everything sees no button that it may not press."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.webhook_receiver import serve_receiver
from tests.browser.elsewhere import call, submit
from tests.support.browser import Dashboard, shown
from tests.support.inprocess import serving

#: what comes after the `#`, and the heading
PAGES = {
    "/": "Now",
    "/runs": "Runs",
    "/runs/{run}": "Run {run_end}",
    "/runs/{failed}": "Run {failed_end}",
    "/board/site": "Board",
    "/schedules": "Schedules",
    "/deliveries?status=dead": "Deliveries",
    "/sessions": "Sessions",
    "/agents": "Agents",
    "/usage": "Usage",
    "/system": "System",
}
#: what needs the scope write, and what needs admin
WRITES = [
    "Allow",
    "Deny",
    "Cancel",
    "Run again",
    "Send again",
    "Start",
    "Add a card",
    "New project",
    "Edit the project",
    "Delete the project",
    "Add a schedule",
    "Run now",
    "Rename",
    "Delete",
    "Select",
]
NAMES = "all => all.map((one) => one.getAttribute('aria-label') ?? one.innerText.trim())"
ADMINS = ["Add an agent", "Disable", "Restart", "Examine", "Make a token", "Revoke"]


@pytest.mark.parametrize("scope", ["read", "write"])
async def test_no_page_has_a_button_that_may_not_be_pressed(tmp_path: Path, dashboard: Dashboard, scope: str) -> None:
    agent = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
    async with serve_receiver("410") as receiver, serving(tmp_path / "home", {"agents": {"list": [agent]}}) as moongate:
        await call(moongate, "POST", "/api/projects", {"slug": "site", "name": "Website"})
        await call(moongate, "POST", "/api/agents", {"slug": "writer", "base": "main"})
        await call(moongate, "POST", "/api/cron/create", {"schedule": "every 1d", "prompt": "wake", "name": "daily"})
        failed = await submit(moongate, "@@ fail it", labels={"project": "site"}, webhook=receiver.url)
        await submit(moongate, "plan", labels={"project": "site"}, held=True)
        run = await submit(moongate, "@@ ask go")
        page = await dashboard(moongate, scope=scope)
        written: list[str] = []
        page.on("request", lambda request: request.method == "GET" or written.append(f"{request.method} {request.url}"))
        seen: set[str] = set()
        names = {"run": run, "failed": failed, "run_end": run[-6:], "failed_end": failed[-6:]}
        for path, heading in PAGES.items():
            await page.goto(f"{moongate.url}/#{path.format(**names)}")
            await shown(page, heading.format(**names))
            seen |= set(await page.locator("#content").locator("button, input[type=checkbox]").evaluate_all(NAMES))
        await page.close()

        assert not seen & set(ADMINS)
        assert {"Cancel", "Run again", "Send again", "Select"} <= seen if scope == "write" else not seen & set(WRITES)
        assert written == []
