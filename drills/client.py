"""What the drills do with a gateway: submit tasks, wait, and read its database."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from harness.live_gateway import Answer, Live
from harness.waiting import PATIENCE

T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str, within: float = PATIENCE, pace: float = 0.01) -> T:
    """Return the value of the condition as soon as it is true.

    Args:
        pace: seconds between two checks.

    Raises:
        AssertionError: it did not become true within `within` seconds.
    """
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(pace)
    raise AssertionError(f"not within {within:g} s: {what}")


def task(live: Live, text: str, key: str | None = None, **fields: Any) -> Answer:
    """Submit a task; return the answer."""
    headers = {"Idempotency-Key": key} if key else {}
    return live.call("POST", "/api/tasks", {"input": text, **fields}, headers=headers)


def accepted(live: Live, text: str, **fields: Any) -> str:
    """Submit a task that must be accepted; return its id."""
    answer = task(live, text, **fields)
    assert answer.status == 202, answer
    return str(answer.body["task"]["id"])


def try_task(live: Live, text: str, key: str) -> Answer | None:
    """Submit a task to a gateway that may be dead or die meanwhile; None if no answer came."""
    try:
        return task(live, text, key)
    except (OSError, http.client.HTTPException, AssertionError):
        return None


def show(live: Live, run: str) -> dict[str, Any]:
    return dict(live.call("GET", f"/api/tasks/{run}").body["task"])


def wait_for(live: Live, run: str, *statuses: str) -> dict[str, Any]:
    """Wait until a task has one of these statuses; return the task."""

    def look() -> dict[str, Any] | None:
        found = show(live, run)
        return found if found["status"] in statuses else None

    return until(look, f"{run} is {' or '.join(statuses)}")


def wait_idle(live: Live, within: float = 120.0) -> None:
    """Wait until no task is queued or running."""

    def idle() -> bool:
        return not any(
            live.call("GET", f"/api/tasks?limit=1&status={status}").body["tasks"] for status in ("queued", "running")
        )

    until(idle, "all tasks have ended", within)


def rows(database: Path, query: str) -> Sequence[tuple[Any, ...]]:
    """Return the rows of a query on a database that no gateway has open."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.execute(query))
    finally:
        connection.close()


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
