"""`/api/tasks`: hand in, list, look at, cancel, try again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.engine.execution import claim_loop
from tests.api.client import Answer, ask, done, running, submit
from tests.support.inprocess import Serving, serving


async def listed(moongate: Serving, query: str = "") -> list[str]:
    answer = await ask(moongate, "GET", f"/api/tasks{query}")
    assert answer.status == 200, answer.body
    return [task["input"] for task in answer.body["tasks"]]


async def test_a_task_is_accepted_and_done(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/api/tasks", {"input": "hi", "labels": {"team": "red"}})
    task = answer.body["task"]
    ended = await done(moongate, task["id"])

    assert (answer.status, answer.body["status"], task["status"]) == (202, "ok", "queued")
    assert answer.headers["X-Run-Id"] == task["id"]
    assert (ended["status"], ended["outcome"], ended["result"]) == ("succeeded", "completed", "echo: hi")
    known = {"tokens_known": True, "cost_known": False}
    assert ended["usage"] == {"input": 1, "output": 2, "cached": 0, "cost": 0.0, **known}
    assert (ended["attempt"], ended["labels"], ended["source"]) == (1, {"team": "red"}, "task")
    assert ended["created_at"] <= ended["started_at"] <= ended["finished_at"]


async def test_a_goal_is_asked_for_until_it_is_reached(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/api/tasks", {"input": "@@ goal 3", "mode": "goal", "max_rounds": 5})
    ended = await done(moongate, answer.body["task"]["id"])

    assert answer.body["task"]["mode"] == "goal"
    assert (ended["rounds"], ended["done"], ended["result"]) == (3, True, "turn 3\nGOAL_COMPLETE")


async def test_tasks_without_a_session_have_one_each(moongate: Serving) -> None:
    sessions = {(await submit(moongate, "hi"))["session"] for _ in range(2)}

    assert len(sessions) == 2


async def test_tasks_are_listed_newest_first_page_by_page(moongate: Serving) -> None:
    for name in "abcde":
        await submit(moongate, name)
    seen, cursor = [], ""
    while cursor is not None:
        page = (await ask(moongate, "GET", f"/api/tasks?limit=2{cursor}")).body
        seen.append([task["input"] for task in page["tasks"]])
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"

    assert seen == [["e", "d"], ["c", "b"], ["a"]]


async def test_a_list_that_fits_its_page_has_no_next_one(moongate: Serving) -> None:
    for name in "ab":
        await submit(moongate, name)

    assert (await ask(moongate, "GET", "/api/tasks?limit=2")).body["next_cursor"] is None


async def test_tasks_are_found_by_label_status_agent_and_session(moongate: Serving) -> None:
    await done(moongate, (await submit(moongate, "one", labels={"team": "red", "x": ""}, session="s"))["id"])
    await done(moongate, (await submit(moongate, "two", labels={"team": "blue"}))["id"])
    await done(moongate, (await submit(moongate, "@@ fail", labels={"team": "a=b"}))["id"])

    assert await listed(moongate, "?label=team") == ["@@ fail", "two", "one"]
    assert await listed(moongate, "?label=team=red") == ["one"]
    assert await listed(moongate, "?label=team=a=b") == ["@@ fail"]
    assert await listed(moongate, "?label=x=") == ["one"]
    assert await listed(moongate, "?label=none") == []
    assert await listed(moongate, "?status=failed") == ["@@ fail"]
    assert await listed(moongate, "?agent=main&status=succeeded") == ["two", "one"]
    assert await listed(moongate, "?agent=nobody") == []
    assert await listed(moongate, "?session=s") == ["one"]
    assert await listed(moongate, "?session=main:task:s") == ["one"]


async def test_tasks_since_a_time_are_those_created_then_or_later(moongate: Serving) -> None:
    first, second = await submit(moongate, "one"), await submit(moongate, "two", labels={"a": "b"})

    at = second["created_at"]
    expected = ["two"] if first["created_at"] < at else ["two", "one"]
    assert await listed(moongate, f"?since={at}") == expected
    assert await listed(moongate, f"?since={at}&label=a") == ["two"]
    assert await listed(moongate, "?since=1970-01-01T00:00:00Z") == ["two", "one"]
    assert await listed(moongate, "?since=2999-01-01T00:00:00Z") == []
    assert (await ask(moongate, "GET", "/api/tasks?since=yesterday")).status == 400


async def test_a_session_s_tasks_are_found_by_its_key_when_it_is_gone(moongate: Serving) -> None:
    await done(moongate, (await submit(moongate, "one", session="s"))["id"])
    await ask(moongate, "DELETE", "/api/sessions/main:task:s")

    assert await listed(moongate, "?session=main:task:s") == ["one"]


async def test_a_raw_name_with_colons_finds_its_tasks(moongate: Serving) -> None:
    await submit(moongate, "one", session="a:b:c")

    assert await listed(moongate, "?session=a:b:c") == ["one"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("session=nothing", "SESSION_NOT_FOUND"),
        ("status=odd", "INVALID_REQUEST"),
        ("label=" + "x" * 401, "INVALID_REQUEST"),
    ],
)
async def test_a_list_of_nothing_that_can_be(moongate: Serving, query: str, code: str) -> None:
    assert (await ask(moongate, "GET", f"/api/tasks?{query}")).code == code


async def test_a_unique_part_is_an_id(moongate: Serving) -> None:
    task = await submit(moongate, "hi")

    for name in (task["id"][:12], task["id"].lower(), task["id"][-6:], task["id"][12:20]):
        assert (await ask(moongate, "GET", f"/api/tasks/{name}")).body["task"]["id"] == task["id"]


async def test_a_prefix_of_several_ids_is_none(moongate: Serving) -> None:
    for _ in range(2):
        await submit(moongate, "hi")

    answer = await ask(moongate, "GET", "/api/tasks/0")

    assert (answer.status, answer.code) == (404, "RUN_NOT_FOUND")
    assert "several tasks have '0' in their ids" in answer.message


@pytest.mark.parametrize("name", ["nothing", "%00", "%25", "*", "..%2F..", "Z" * 26, "Z" * 4000, "%F0%9F%92%A9"])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry")])
async def test_an_unknown_task_is_not_found(moongate: Serving, method: str, path: str, name: str) -> None:
    answer = await ask(moongate, method, f"/api/tasks/{name}{path}")

    assert (answer.status, answer.code) == (404, "RUN_NOT_FOUND")
    assert len(answer.message) < 300


async def test_a_later_task_waits_for_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # When its sleep has to end, the test's clock does not show.
    monkeypatch.setattr(claim_loop, "MAX_CLAIM_SLEEP_SECONDS", 0.05)
    now = datetime(2030, 1, 1, tzinfo=UTC)
    moment = [round(now.timestamp() * 1000)]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        due = (now + timedelta(hours=1)).astimezone().isoformat()
        task = await submit(served, "later", run_at=due)
        await done(served, (await submit(served, "now"))["id"])
        before = await ask(served, "GET", f"/api/tasks/{task['id']}")
        moment[0] += 3_600_000
        ended = await done(served, task["id"])

    assert task["run_at"] == "2030-01-01T01:00:00.000Z"
    assert before.body["task"]["status"] == "queued"
    assert ended["status"] == "succeeded"


@pytest.mark.parametrize(
    "run_at",
    [
        "2030-01-01T00:00:00",
        "tomorrow",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        1,
        "2030-13-01T00:00:00Z",
    ],
)
async def test_a_moment_that_is_none_is_refused(moongate: Serving, run_at: object) -> None:
    answer = await ask(moongate, "POST", "/api/tasks", {"input": "hi", "run_at": run_at})

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert answer.message.startswith("run_at: ")
    assert await listed(moongate) == []


@pytest.mark.parametrize("run_at", ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2030-01-01T00:00:00.123456+05:45"])
async def test_other_moments_are_shown_as_they_are(moongate: Serving, run_at: str) -> None:
    task = await submit(moongate, "hi", run_at=run_at)
    shown = datetime.fromisoformat(task["run_at"])

    assert abs(shown - datetime.fromisoformat(run_at)) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": {"a=b": "c"}}, "labels"),
        ({"labels": {"a\0b": "c"}}, "labels"),
        ({"labels": {"": "c"}}, "labels"),
        ({"labels": {"a\x9b": "c"}}, "labels"),
        ({"labels": {"a": "c\u202e"}}, "labels"),
        ({"labels": {"a\u200b": "c"}}, "labels (a name in it): has"),
        ({"labels": {"a": "c\u2028d"}}, "labels"),
        ({"labels": {"a": "c\n"}}, "labels"),
        ({"labels": {"a": 1}}, "labels (an entry): expected text, got a whole number"),
        ({"labels": {str(n): "" for n in range(33)}}, "labels"),
        ({"priority": 1001}, "priority"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 1e12}, "timeout"),
        ({"model": "--help"}, "model"),
        ({"model": "a b"}, "model"),
        ({"parent": "x" * 27}, "parent"),
        ({"session": ""}, "session"),
        ({"mood": "turn"}, "mood: unknown field"),
    ],
)
async def test_a_refusal_names_the_field(moongate: Serving, change: dict[str, object], said: str) -> None:
    answer = await ask(moongate, "POST", "/api/tasks", {"input": "hi", **change})

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert answer.message.startswith(said)


async def test_a_task_may_belong_to_another(moongate: Serving) -> None:
    parent = await submit(moongate, "hi")
    child = await submit(moongate, "hi", parent=parent["id"][:15].lower())
    orphan = await ask(moongate, "POST", "/api/tasks", {"input": "hi", "parent": "Z"})

    assert child["parent"] == parent["id"]
    assert (orphan.status, orphan.code) == (404, "RUN_NOT_FOUND")


async def test_a_waiting_task_is_cancelled_at_once(moongate: Serving) -> None:
    first = await submit(moongate, "@@ hang", session="s")
    second = await submit(moongate, "hi", session="s")

    answer = await ask(moongate, "POST", f"/api/tasks/{second['id']}/cancel")

    assert (answer.status, answer.body["status"], answer.body["task"]["status"]) == (200, "ok", "cancelled")
    await ask(moongate, "POST", f"/api/tasks/{first['id']}/cancel")


async def test_a_running_task_is_cancelled_soon(moongate: Serving) -> None:
    task = await submit(moongate, "@@ hang")
    await running(moongate, task["id"])

    answer = await ask(moongate, "POST", f"/api/tasks/{task['id'][:20]}/cancel")
    ended = await done(moongate, task["id"])

    assert (answer.status, answer.body["task"]["cancel_requested"]) == (200, True)
    assert (ended["status"], ended["outcome"]) == ("cancelled", "cancelled_by_user")


async def test_a_task_that_waits_says_for_what_where_it_is_listed_and_looked_at(moongate: Serving) -> None:
    first = await submit(moongate, "@@ hang", session="one")
    await running(moongate, first["id"])
    second = await submit(moongate, "hi", session="one")

    waits = {"why": f"the run {first['id']} of its session goes first", "until": None}
    listed = (await ask(moongate, "GET", "/api/tasks")).body["tasks"]
    assert [task["waits"] for task in listed] == [waits, None]
    assert (await ask(moongate, "GET", f"/api/tasks/{second['id']}")).body["task"]["waits"] == waits


async def test_what_has_ended_cannot_be_cancelled(moongate: Serving) -> None:
    task = await submit(moongate, "hi")
    await done(moongate, task["id"])

    answer = await ask(moongate, "POST", f"/api/tasks/{task['id']}/cancel")

    assert (answer.status, answer.code) == (409, "CONFLICT")
    assert "succeeded" in answer.message


async def test_a_failed_task_is_tried_again_as_a_new_one(moongate: Serving) -> None:
    task = await submit(moongate, "@@ fail", labels={"a": "b"})
    await done(moongate, task["id"])

    answer = await ask(moongate, "POST", f"/api/tasks/{task['id']}/retry")

    again = answer.body["task"]
    assert (answer.status, again["retry_of"], again["labels"]) == (202, task["id"], {"a": "b"})
    assert again["id"] != task["id"] == (await done(moongate, again["id"]))["retry_of"]


@pytest.mark.parametrize("input_", ["hi", "@@ hang"])
async def test_what_has_not_failed_cannot_be_tried_again(moongate: Serving, input_: str) -> None:
    task = await submit(moongate, input_)
    await (running if input_ == "@@ hang" else done)(moongate, task["id"])

    answer = await ask(moongate, "POST", f"/api/tasks/{task['id']}/retry")

    assert (answer.status, answer.code) == (409, "CONFLICT")


async def test_who_cancels_and_goes_away_has_cancelled(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wish is on disk, and the run at work must hear of it, though its caller hears nothing."""
    task = await submit(moongate, "@@ hang")
    await running(moongate, task["id"])
    store = moongate.engine._store
    cancel, asked, go = store.runs.cancel, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: object) -> object:
        asked.set()
        await go.wait()
        return await cancel(*arguments)

    monkeypatch.setattr(store.runs, "cancel", slowly)
    asking = asyncio.create_task(ask(moongate, "POST", f"/api/tasks/{task['id']}/cancel"))
    await asked.wait()
    asking.cancel()
    await asyncio.wait([asking])
    go.set()

    assert (await done(moongate, task["id"]))["status"] == "cancelled"


async def test_who_submits_and_goes_away_has_submitted(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is on disk is begun at once, not when the next one is submitted."""
    store = moongate.engine._store
    accept, accepted = store.runs.accept, asyncio.Event()

    async def and_say_nothing(*arguments: object) -> Answer:
        await accept(*arguments)
        accepted.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(store.runs, "accept", and_say_nothing)
    asking = asyncio.create_task(ask(moongate, "POST", "/api/tasks", {"input": "hi"}))
    await accepted.wait()
    asking.cancel()
    (task,) = (await ask(moongate, "GET", "/api/tasks")).body["tasks"]

    assert (await done(moongate, task["id"]))["status"] == "succeeded"


async def test_what_an_agents_command_asks_is_one_deeper_and_too_deep_is_refused(moongate: Serving) -> None:
    async def hand_in(depth: str) -> Answer:
        return await ask(moongate, "POST", "/api/tasks", {"input": "hi"}, X_Moongate_Depth=depth)

    deep, deeper, wrong = await hand_in("4"), await hand_in("5"), await hand_in("-1")
    plain = await submit(moongate, "hi")

    assert (await moongate.engine.runs.get_run(deep.body["task"]["id"])).spec.depth == 5
    assert (deeper.status, deeper.code) == (409, "TOO_DEEP")
    assert (wrong.status, wrong.code) == (400, "INVALID_REQUEST")
    assert (await moongate.engine.runs.get_run(plain["id"])).spec.depth == 0
