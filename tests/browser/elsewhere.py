"""What another client does to the gateway while a page shows it."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Locator, Page

from harness.waiting import PATIENCE
from tests.api.client import ask
from tests.support.inprocess import Serving


async def call(served: Serving, method: str, path: str, body: Any = None) -> Any:
    """Make a request that is not refused, and return its answer."""
    answer = await ask(served, method, path, body)
    assert answer.status < 300, answer.body
    return answer.body


async def submit(served: Serving, text: str, **fields: Any) -> str:
    """Submit a task, and return its id."""
    return str((await call(served, "POST", "/api/tasks", {"input": text, **fields}))["task"]["id"])


async def read_task(served: Serving, run: str) -> dict[str, Any]:
    return dict((await call(served, "GET", f"/api/tasks/{run}"))["task"])


async def read_ended_task(served: Serving, run: str) -> dict[str, Any]:
    """Return a task when it has ended: a page that shows that nothing waits does not show that."""
    await served.engine.runs.wait_for_run(run, PATIENCE)
    return await read_task(served, run)


async def list_tasks(served: Serving, query: str = "") -> list[dict[str, Any]]:
    """Return tasks, the newest first."""
    return list((await call(served, "GET", f"/api/tasks?limit=200&{query}"))["tasks"])


def section(page: Page, heading: str) -> Locator:
    """Return the part of a page below a heading."""
    return page.locator("section", has=page.get_by_role("heading", name=heading, exact=True))
