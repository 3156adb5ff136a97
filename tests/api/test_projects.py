"""Projects: names and notes for tasks with the same label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.domain import times
from tests.api.client import ask, token
from tests.contracts.stores import START, SteppedClock
from tests.support.inprocess import Serving, serving

NONE = {"held": 0, "queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}


async def create(served: Serving, slug: str, **fields: Any) -> dict[str, Any]:
    answer = await ask(served, "POST", "/api/projects", {"slug": slug, **fields})
    assert answer.status == 201, answer.body
    return dict(answer.body["project"])


async def test_a_project_is_made_changed_and_deleted(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with serving(tmp_path, clock=clock) as served:
        made = await create(served, "garden", note="water it\nevery day")
        clock.forward(1000)
        changed = await ask(served, "PATCH", "/api/projects/garden", {"name": "The garden"})
        shown = await ask(served, "GET", "/api/projects/garden")
        deleted = await ask(served, "DELETE", "/api/projects/garden")
        gone = await ask(served, "GET", "/api/projects/garden")

    at, later = times.format_rfc3339(START), times.format_rfc3339(START + 1000)
    note = "water it\nevery day"
    assert made == {
        "slug": "garden",
        "name": "garden",
        "note": note,
        "counts": NONE,
        "created_at": at,
        "updated_at": at,
    }
    assert (
        changed.body
        == shown.body
        == {
            "status": "ok",
            "project": {**made, "name": "The garden", "updated_at": later},
        }
    )
    assert (deleted.status, deleted.body) == (200, {"status": "ok"})
    assert (gone.status, gone.code) == (404, "PROJECT_NOT_FOUND")


async def test_a_project_tells_how_many_tasks_have_its_label(moongate: Serving) -> None:
    await create(moongate, "garden")
    for label in ("garden", "house"):
        task = await ask(moongate, "POST", "/api/tasks", {"input": "@@ fail no", "labels": {"project": label}})
        await moongate.engine.runs.wait_for_run(task.body["task"]["id"], 60)
    (shown,) = (await ask(moongate, "GET", "/api/projects")).body["projects"]
    tasks = (await ask(moongate, "GET", "/api/tasks?label=project=garden")).body["tasks"]

    assert sum(shown["counts"].values()) == len(tasks) == 1
    assert shown["counts"][tasks[0]["status"]] == 1


async def test_projects_come_in_pages(moongate: Serving) -> None:
    for slug in "abc":
        await create(moongate, slug)
    first = (await ask(moongate, "GET", "/api/projects?limit=2")).body
    rest = (await ask(moongate, "GET", f"/api/projects?limit=2&cursor={first['next_cursor']}")).body

    assert [one["slug"] for one in first["projects"] + rest["projects"]] == ["c", "b", "a"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"slug": ""},
        {"slug": "a/b"},
        {"slug": "a b"},
        {"slug": "x" * 65},
        {"slug": "a", "name": "x" * 101},
        {"slug": "a", "name": "tab\there"},
        {"slug": "a", "note": "x" * 4001},
        {"slug": "a", "colour": "red"},
        {},
    ],
    ids=str,
)
async def test_what_is_no_project_is_refused(moongate: Serving, fields: dict[str, Any]) -> None:
    answer = await ask(moongate, "POST", "/api/projects", fields)

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert (await ask(moongate, "GET", "/api/projects")).body["projects"] == []


async def test_a_slug_that_is_taken_is_a_conflict_unless_the_request_is_repeated(moongate: Serving) -> None:
    body = {"slug": "garden", "name": "Garden"}
    first = await ask(moongate, "POST", "/api/projects", body, Idempotency_Key="k")
    again = await ask(moongate, "POST", "/api/projects", body, Idempotency_Key="k")
    other = await ask(moongate, "POST", "/api/projects", body)

    assert (first.status, again.status, other.status, other.code) == (201, 201, 409, "CONFLICT")
    assert again.body == first.body


async def test_a_reader_may_look_at_projects_and_change_none(moongate: Serving) -> None:
    await create(moongate, "garden")
    reader = await token(moongate, "reader", "read")

    assert (await ask(moongate, "GET", "/api/projects", token=reader)).status == 200
    for method, path, body in (
        ("POST", "/api/projects", {"slug": "b"}),
        ("PATCH", "/api/projects/garden", {"name": "b"}),
        ("DELETE", "/api/projects/garden", None),
    ):
        assert (await ask(moongate, method, path, body, token=reader)).status == 403
