"""A list of many runs can be scrolled from end to end."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import expect

from drills.much import fill_store, make_spec
from harness.waiting import PATIENCE
from tests.support.browser import Dashboard, shown
from tests.support.inprocess import serving

RUNS = 1200
SETTINGS = {"agents": {"list": [{"id": name, "backend": "echo"} for name in ("main", "other")]}}


async def test_all_runs_can_be_scrolled_through_and_few_rows_are_there_at_a_time(
    tmp_path: Path, dashboard: Dashboard
) -> None:
    await fill_store(tmp_path / "data" / "moongate.db", [make_spec(number, number % 100) for number in range(RUNS)])
    async with serving(tmp_path, SETTINGS) as served:
        page = await dashboard(served, "/runs")
        await shown(page, "Runs")
        table = page.get_by_role("table")
        rows = table.locator(".rows").get_by_role("row")
        await expect(rows.first).to_contain_text(f"task number {RUNS - 1}?")

        seen: set[str] = set()
        async with asyncio.timeout(PATIENCE):
            while not any("task number 0?" in one for one in seen):
                there = await rows.all_inner_texts()
                assert len(there) < 100
                seen.update(there)
                await rows.last.scroll_into_view_if_needed()
                await page.evaluate("new Promise(requestAnimationFrame)")

        await expect(table).to_have_attribute("aria-rowcount", str(RUNS))
        numbers = {text.partition("task number ")[2].partition("?")[0] for text in seen}
        assert numbers >= {str(number) for number in range(RUNS)}
        await dashboard.close()
