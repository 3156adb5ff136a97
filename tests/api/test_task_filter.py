"""The filter of tasks: what is listed, and what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.store.sql import run_filter
from tests.api.client import ask, done, stream, submit
from tests.support.inprocess import Serving, serving


async def found(moongate: Serving, query: str) -> list[str]:
    answer = await ask(moongate, "GET", f"/api/tasks?{query}")
    assert answer.status == 200, answer.body
    return [task["input"] for task in answer.body["tasks"]]


async def counted(moongate: Serving, query: str = "") -> dict[str, Any]:
    answer = await ask(moongate, "GET", f"/api/tasks/counts?{query}")
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    body["counts"] = {status: n for status, n in body["counts"].items() if n}
    return body


async def test_tasks_are_found_by_several_statuses_source_parent_and_time(moongate: Serving) -> None:
    first = await done(moongate, (await submit(moongate, "one"))["id"])
    await done(moongate, (await submit(moongate, "@@ fail", parent=first["id"]))["id"])
    await submit(moongate, "held", held=True)
    await ask(moongate, "POST", "/api/agent", {"message": "by agent"})

    assert await found(moongate, "status=held,failed") == ["held", "@@ fail"]
    assert await found(moongate, "status=succeeded,failed&source=task") == ["@@ fail", "one"]
    assert await found(moongate, "source=agent") == ["by agent"]
    assert await found(moongate, f"parent={first['id'][-8:]}") == ["@@ fail"]
    assert "held" not in await found(moongate, f"until={first['created_at']}")
    assert await found(moongate, f"since={first['created_at']}&until=2099-01-01T00:00:00Z&status=held") == ["held"]


@pytest.mark.parametrize("query", ["status=sleeping", "status=held,sleeping", "source=x", "until=12", "text=-x"])
async def test_a_filter_that_cannot_be_read_is_refused(moongate: Serving, query: str) -> None:
    answer = await ask(moongate, "GET", f"/api/tasks?{query}")

    assert (answer.status, answer.body["error"]["code"]) == (400, "INVALID_REQUEST")


async def test_who_names_no_status_is_told_which_there_are(moongate: Serving) -> None:
    known = "one of held, queued, running, succeeded, failed, cancelled."
    asked = await ask(moongate, "GET", "/api/tasks?status=x,held")
    sent = await ask(moongate, "POST", "/api/tasks/batch", {"action": "cancel", "filter": {"status": ["x"]}})

    assert asked.message == f'query: status[0]: unknown value "x"; {known}'
    assert sent.message == f'filter.status[0]: unknown value "x"; {known}'


async def test_tasks_are_found_by_words_of_prompt_and_answer_in_every_status(moongate: Serving) -> None:
    await done(moongate, (await submit(moongate, "Count the Lemons"))["id"])
    await done(moongate, (await submit(moongate, "@@ fail lemonade"))["id"])
    await submit(moongate, "held lemons", held=True)
    cancelled = await submit(moongate, "cancelled lemon", held=True)
    await ask(moongate, "POST", f"/api/tasks/{cancelled['id']}/cancel")
    await submit(moongate, "oranges", held=True)

    assert await found(moongate, "text=lemon") == [
        "cancelled lemon",
        "held lemons",
        "@@ fail lemonade",
        "Count the Lemons",
    ]
    assert await found(moongate, "text=echo") == ["Count the Lemons"]
    assert await found(moongate, "text=lemon+-held&status=held,cancelled") == ["cancelled lemon"]
    assert (await counted(moongate, "text=lemon"))["counts"] == {
        "held": 1,
        "succeeded": 1,
        "failed": 1,
        "cancelled": 1,
    }


async def test_tasks_are_counted_by_status(moongate: Serving) -> None:
    await done(moongate, (await submit(moongate, "one", labels={"team": "red"}))["id"])
    await done(moongate, (await submit(moongate, "@@ fail"))["id"])
    await submit(moongate, "held", held=True, labels={"team": "red"})

    assert await counted(moongate) == {
        "counts": {"held": 1, "succeeded": 1, "failed": 1},
        "waiting_for_person": 0,
        "exact": True,
    }
    assert (await counted(moongate, "label=team=red"))["counts"] == {"held": 1, "succeeded": 1}
    assert (await counted(moongate, "agent=main&source=cron"))["counts"] == {}
    assert (await counted(moongate, "since=2099-01-01T00:00:00Z"))["counts"] == {}


async def test_the_counts_of_very_many_tasks_are_lower_bounds_but_exact_where_few_have_a_status(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_filter, "MAX_COUNTED_RUNS", 3)
    monkeypatch.setattr(run_filter, "_BEYOND", 4)
    held = [await submit(moongate, "held", held=True) for _ in range(2)]
    for _ in range(6):
        await done(moongate, (await submit(moongate, "one"))["id"])

    told = await counted(moongate, "agent=main")

    assert (told["exact"], told["counts"]["held"], len(held)) == (False, 2, 2)
    assert 3 <= told["counts"]["succeeded"] < 6


async def test_a_running_task_with_an_open_request_waits_for_a_person(tmp_path: Path) -> None:
    agent = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
    async with serving(tmp_path, {"agents": {"list": [agent]}}) as served:
        task = await submit(served, "@@ ask rm")
        async with stream(served, f"/api/tasks/{task['id']}/events") as events:
            async for frame in events:
                if frame.event == "permission":
                    break
        queries = ("", "agent=main", "source=cron")
        waiting = [(await counted(served, query))["waiting_for_person"] for query in queries]
        await ask(served, "POST", f"/api/tasks/{task['id']}/permissions/p1", {"answer": "allow"})
        await done(served, task["id"])

        assert waiting == [1, 1, 0]
        assert (await counted(served))["waiting_for_person"] == 0
