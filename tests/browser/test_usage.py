"""What was used, in the browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.elsewhere import call
from tests.contracts.stores import SteppedClock
from tests.support.browser import Dashboard
from tests.support.inprocess import serving

DAY_MS = 86_400_000
PRICED: dict[str, Any] = {
    "id": "main",
    "backend": "command",
    "command": ["sh", "-c", 'cat >/dev/null; echo \'{"text": "hi", "usd": 0.25, "in": 1200}\''],
    "output": "jsonl",
    "map": [{"text": "text"}, {"usage": {"cost": "usd", "input": "in"}}],
}


async def test_it_tells_what_yesterday_cost(tmp_path: Path, dashboard: Dashboard) -> None:
    clock = SteppedClock()
    async with serving(tmp_path / "home", {"agents": {"list": [PRICED]}}, clock=clock) as moongate:
        for _ in range(3):
            await call(moongate, "POST", "/api/agent", {"message": "hello"})
        clock.forward(DAY_MS)
        await call(moongate, "POST", "/api/agent", {"message": "hello"})
        page = await dashboard(moongate, "/usage")
        sums = page.locator(".usage-sums")
        await expect(sums).to_contain_text("$1.00")

        await page.get_by_role("button", name="Yesterday").click()
        await expect(sums).to_contain_text("$0.75")
        await page.reload()
        await expect(sums).to_contain_text("$0.75")
        await expect(sums).to_contain_text("3,600")
        await expect(page.get_by_role("row", name=re.compile("^main"))).to_contain_text("$0.75")
        await page.get_by_role("button", name="Today").click()
        await expect(sums).to_contain_text("$0.25")

        await call(moongate, "POST", "/api/agent", {"message": "hello"})
        await expect(sums).to_contain_text("$0.50")
        await page.close()


@pytest.mark.parametrize("span", ["yesterday", "quarter"])
async def test_a_span_without_use_says_so(tmp_path: Path, dashboard: Dashboard, span: str) -> None:
    async with serving(tmp_path / "home") as moongate:
        page = await dashboard(moongate, f"/usage?span={span}")
        await expect(page.get_by_text("Nothing was used from")).to_be_visible()
        await page.close()
