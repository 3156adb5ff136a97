"""`GET /api/tasks/{id}/timeline`."""

from __future__ import annotations

import pytest

from gateway.engine.resources import timelines
from tests.api.client import ask, done, submit
from tests.support.inprocess import Serving


async def test_a_task_is_shown_as_groups_of_its_events(moongate: Serving) -> None:
    task = await done(moongate, (await submit(moongate, "hi"))["id"])

    answer = await ask(moongate, "GET", f"/api/tasks/{task['id'][-8:]}/timeline")

    assert answer.headers["X-Run-Id"] == answer.body["task_id"] == task["id"]
    assert (answer.body["status"], answer.body["created_at"]) == ("succeeded", task["created_at"])
    groups = answer.body["groups"]
    assert [(one["kind"], one["status"]) for one in groups] == [("wait", "ok"), ("attempt", "ok"), ("text", "ok")]
    assert (groups[0]["started_at"], groups[1]["ended_at"]) == (task["created_at"], task["finished_at"])
    assert (groups[2]["detail"], answer.body["complete"]) == ("echo: hi", True)
    assert answer.body["waited_seconds"] >= 0


async def test_a_log_that_is_too_long_is_read_in_part(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    task = await done(moongate, (await submit(moongate, "hi"))["id"])
    monkeypatch.setattr(timelines, "MAX_TIMELINE_EVENTS", 2)

    answer = (await ask(moongate, "GET", f"/api/tasks/{task['id']}/timeline")).body

    assert (answer["complete"], [one["kind"] for one in answer["groups"]]) == (False, ["wait", "attempt"])
    assert answer["groups"][1]["ended_at"] == task["finished_at"]


async def test_a_task_that_is_not_there_has_no_timeline(moongate: Serving) -> None:
    assert (await ask(moongate, "GET", "/api/tasks/nothing/timeline")).status == 404
