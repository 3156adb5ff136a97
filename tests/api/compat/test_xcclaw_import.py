"""`POST /api/import`: what XCClaw had becomes schedules, sessions and tasks, and nothing runs."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.api.client import Answer, ask, token
from tests.support.inprocess import Serving

TASK = {"id": "old", "prompt": "p", "status": "completed", "result": "r", "created_at": "2024-01-02T03:04:05Z"}
SCHEDULE = {"id": "daily", "cron": "0 9 * * *", "prompt": "p"}


async def imported(moongate: Serving, query: str = "", **body: Any) -> Answer:
    return await ask(moongate, "POST", f"/api/import{query}", body)


def states(answer: Answer) -> list[str]:
    return [one["state"] for kind in ("schedules", "sessions", "tasks") for one in answer.body[kind]]


@pytest.mark.parametrize(
    ("status", "shown"),
    [("completed", "succeeded"), ("failed", "failed"), ("aborted", "cancelled"), ("pending", "held")],
)
async def test_a_task_has_the_status_that_it_had(moongate: Serving, status: str, shown: str) -> None:
    answer = await imported(moongate, tasks=[{**TASK, "status": status}])

    [task] = (await ask(moongate, "GET", "/api/tasks?label=xcclaw")).body["tasks"]
    assert states(answer) == ["imported"]
    assert (task["status"], task["attempt"], task["created_at"]) == (shown, 0, "2024-01-02T03:04:05.000Z")


async def test_only_an_administrator_imports(moongate: Serving) -> None:
    writer = await token(moongate, "writer", "write")

    answer = await ask(moongate, "POST", "/api/import", {"tasks": [TASK]}, token=writer)

    assert answer.status == 403


async def test_an_imported_task_is_known_by_its_old_id(moongate: Serving) -> None:
    first = await imported(moongate, tasks=[TASK])
    again = await imported(moongate, tasks=[TASK, {**TASK, "id": "other"}])

    assert (states(first), states(again)) == (["imported"], ["present", "imported"])


async def test_an_import_does_not_disturb_the_filter_by_time(moongate: Serving) -> None:
    made = (await ask(moongate, "POST", "/api/xcclaw/task", {"prompt": "before"})).body
    await imported(moongate, tasks=[TASK])

    for since, wanted in (("2024-01-01T00:00:00Z", ["p", "before"]), (made["created_at"], ["before"])):
        found = await ask(moongate, "GET", f"/api/tasks?since={quote(since)}")

        assert [task["input"] for task in found.body["tasks"]] == wanted


async def test_a_schedule_of_the_same_id_from_elsewhere_is_not_touched(moongate: Serving) -> None:
    own = {"name": "own", "schedule": "0 8 * * *", "message": "own"}
    made = (await ask(moongate, "POST", "/api/cron/create", own)).body["job"]

    answer = await imported(moongate, schedules=[{**SCHEDULE, "id": made["id"]}])

    [outcome] = answer.body["schedules"]
    assert outcome["state"] == "refused"
    assert outcome["reason"].startswith(f"there is another schedule '{made['id']}'")
    assert (await ask(moongate, "GET", "/api/xcclaw/schedule")).body == []


async def test_a_bad_entry_does_not_stop_the_others(moongate: Serving) -> None:
    late = {**TASK, "id": "late", "finished_at": "9999-12-31T23:59:59Z"}

    answer = await imported(moongate, schedules=[{**SCHEDULE, "cron": "x"}, SCHEDULE], tasks=[late, TASK])

    assert states(answer) == ["refused", "imported", "refused", "imported"]
    assert answer.body["schedules"][0]["reason"].startswith("cron: ")
    assert answer.body["tasks"][0]["reason"] == "finished_at: send a time between 1970 and 9998."


async def test_a_persistent_task_is_in_its_imported_session(moongate: Serving) -> None:
    session = {"id": "s 1", "name": "n", "messages": [{"role": "user", "content": "hello"}]}
    task = {**TASK, "type": "persistent", "status": "pending", "session_id": "s 1"}

    await imported(moongate, sessions=[session], tasks=[task])

    [shown] = (await ask(moongate, "GET", "/api/xcclaw/task")).body
    [named] = (await ask(moongate, "GET", "/api/xcclaw/persistent")).body
    assert shown["session_id"] == named["id"]


async def test_a_dry_run_says_what_would_happen_and_stores_nothing(moongate: Serving) -> None:
    session = {"id": "s", "name": "n"}
    everything: dict[str, Any] = {"schedules": [SCHEDULE], "sessions": [session], "tasks": [TASK]}

    answer = await imported(moongate, "?dry_run=true", **everything)

    assert states(answer) == ["imported"] * 3
    assert states(await imported(moongate, **everything)) == ["imported"] * 3


@pytest.mark.parametrize(
    "body",
    [
        {"tasks": [{**TASK, "status": "running"}]},
        {"tasks": [{**TASK, "prompt": ""}]},
        {"tasks": [{**TASK, "created_at": "2024-01-02T03:04:05"}]},
        {"tasks": [TASK] * 101},
        {"sessions": [{"id": "s", "name": ""}]},
        {"sessions": [{"id": "s", "name": "n", "messages": [{"role": "system", "content": "c"}]}]},
        {"schedules": [{**SCHEDULE, "more": 1}]},
        {"jobs": []},
    ],
)
async def test_a_request_of_another_shape_is_refused_as_a_whole(moongate: Serving, body: dict[str, Any]) -> None:
    assert (await ask(moongate, "POST", "/api/import", body)).status == 400
