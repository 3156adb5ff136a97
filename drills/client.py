"""What the drills do with a gateway: hand in, wait, look into what is left."""

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
    """Return what the condition returns as soon as that is true.

    Args:
        pace: seconds between two looks.

    Raises:
        AssertionError: it did not become true within so many seconds.
    """
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(pace)
    raise AssertionError(f"waited {within:g} s in vain until {what}")


def task(live: Live, text: str, key: str | None = None, **fields: Any) -> Answer:
    """Hand in a task."""
    headers = {"Idempotency-Key": key} if key else {}
    return live.call("POST", "/api/tasks", {"input": text, **fields}, headers=headers)


def accepted(live: Live, text: str, **fields: Any) -> str:
    """Hand in a task that must be taken; returns its id."""
    answer = task(live, text, **fields)
    assert answer.status == 202, answer
    return str(answer.body["task"]["id"])


def try_task(live: Live, text: str, key: str) -> Answer | None:
    """Hand in a task to a gateway that may be dead, or die of it; None if nothing was answered."""
    try:
        return task(live, text, key)
    except (OSError, http.client.HTTPException, AssertionError):
        return None


def show(live: Live, run: str) -> dict[str, Any]:
    return dict(live.call("GET", f"/api/tasks/{run}").body["task"])


def wait_for(live: Live, run: str, *statuses: str) -> dict[str, Any]:
    """Wait until a task has one of these statuses."""

    def look() -> dict[str, Any] | None:
        found = show(live, run)
        return found if found["status"] in statuses else None

    return until(look, f"{run} is {' or '.join(statuses)}")


def wait_idle(live: Live, within: float = 120.0) -> None:
    """Wait until nothing is queued or running."""

    def idle() -> bool:
        return not any(
            live.call("GET", f"/api/tasks?limit=1&status={status}").body["tasks"] for status in ("queued", "running")
        )

    until(idle, "all tasks have ended", within)


def rows(database: Path, query: str) -> Sequence[tuple[Any, ...]]:
    """Ask a database that no gateway has open."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.execute(query))
    finally:
        connection.close()


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
