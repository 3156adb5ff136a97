"""Permissions over HTTP: asked, answered once, and told to all who follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.api.client import ask, done, stream, submit, token
from tests.support.inprocess import Serving, serving

AGENTS = {"list": [{"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}]}


@pytest.fixture
async def moongate(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path, {"agents": AGENTS}) as served:
        yield served


async def asking(served: Serving, what: str = "rm -rf", verb: str = "ask") -> str:
    """Hand in a task, and return its id once its agent waits to be allowed something."""
    task: str = (await submit(served, f"@@ {verb} {what}"))["id"]
    async with stream(served, f"/api/tasks/{task}/events") as events:
        async for frame in events:
            if frame.event == "permission":
                return task
    raise AssertionError("the task has ended")


async def test_a_request_is_listed_answered_and_listed_as_answered(moongate: Serving) -> None:
    task = await asking(moongate)
    [waiting] = (await ask(moongate, "GET", f"/api/tasks/{task}/permissions")).body["permissions"]
    answered = await ask(moongate, "POST", f"/api/tasks/{task[:20]}/permissions/p1", {"answer": "allow_always"})
    ended = await done(moongate, task)
    listed = (await ask(moongate, "GET", f"/api/tasks/{task}/permissions")).body

    open_ = {"answer": None, "answered_at": None, "answered_by": None, "reason": None}
    open_ |= {"question": None, "content": None}
    choices = ["allow", "allow_always", "deny"]
    assert waiting == {**waiting, "id": "p1", "task": task, "action": "rm -rf", "choices": choices, **open_}
    assert waiting["asked_at"] < waiting["expires_at"]
    shown = {**waiting, "answer": "allow_always", "answered_by": "owner"}
    assert answered.body == {
        "status": "ok",
        "permission": shown | {"answered_at": listed["permissions"][0]["answered_at"]},
    }
    assert listed == {"permissions": [answered.body["permission"]], "next_cursor": None}
    assert ended["result"] == "allow_always"


async def test_tasks_are_counted_as_long_as_they_wait_for_a_person(moongate: Serving) -> None:
    async def count() -> int:
        return int((await ask(moongate, "GET", "/api/tasks/counts")).body["waiting_for_person"])

    await done(moongate, (await submit(moongate, "asks for nothing"))["id"])
    before = await count()
    task = await asking(moongate)
    counted = await count()
    await ask(moongate, "POST", f"/api/tasks/{task}/permissions/p1", {"answer": "deny"})
    await done(moongate, task)

    assert (before, counted, await count()) == (0, 1, 0)


async def test_a_task_shows_what_it_waits_for_as_long_as_it_does(moongate: Serving) -> None:
    task = await asking(moongate)
    before = (await ask(moongate, "GET", f"/api/tasks/{task}")).body["permissions"]
    await ask(moongate, "POST", f"/api/tasks/{task}/permissions/p1", {"answer": "deny"})
    await done(moongate, task)

    assert [one["action"] for one in before] == ["rm -rf"]
    assert (await ask(moongate, "GET", f"/api/tasks/{task}")).body["permissions"] == []


async def test_who_follows_later_sees_what_was_asked_and_answered(moongate: Serving) -> None:
    task = await asking(moongate)
    secret = await token(moongate, "anna", "write")
    answer = await ask(moongate, "POST", f"/api/tasks/{task}/permissions/p1", {"answer": "allow"}, token=secret)
    async with stream(moongate, f"/api/tasks/{task}/events") as events:
        asked, answered = [frame.data for frame in await events.rest() if frame.event == "permission"]

    assert answer.body["permission"]["answered_by"] == "anna"
    told = {"kind": "permission", "id": "p1", "action": "rm -rf"}
    offered = {"choices": ["allow", "allow_always", "deny"], "expires_at": answer.body["permission"]["expires_at"]}
    assert asked == told | offered
    assert answered == told | {"answer": "allow", "by": "anna"}


async def test_all_changes_tell_of_it(moongate: Serving) -> None:
    async with (
        stream(moongate, "/api/events") as events,
        moongate.client.ws_connect("/api/ws") as socket,
    ):
        task = await asking(moongate)
        await ask(moongate, "POST", f"/api/tasks/{task}/permissions/p1", {"answer": "allow"})
        told, heard = [], []
        while len(told) < 2:
            frame = await events.next()
            told += [frame.data] if frame.event == "permission" else []
        while len(heard) < 2:
            change = await socket.receive_json(timeout=60)
            heard += [change] if change["topic"] == "permission" else []

    assert [(one["ref"], one["state"]) for one in told] == [(f"{task}/p1", "asked"), (f"{task}/p1", "allow")]
    assert heard == told


async def test_a_second_answer_is_a_conflict_and_the_same_one_is_not(moongate: Serving) -> None:
    task = await asking(moongate)
    path = f"/api/tasks/{task}/permissions/p1"
    first, again = [await ask(moongate, "POST", path, {"answer": "allow"}, Idempotency_Key="one") for _ in range(2)]
    second = await ask(moongate, "POST", path, {"answer": "deny"})

    assert (first.status, again.body) == (200, first.body)
    assert (second.status, second.code) == (409, "CONFLICT")
    assert second.message == "p1 was answered already: allow, by owner."


async def test_what_a_cancelled_task_asked_is_not_waited_for(moongate: Serving) -> None:
    task = await asking(moongate)
    await ask(moongate, "POST", f"/api/tasks/{task}/cancel")
    assert (await done(moongate, task))["status"] == "cancelled"

    answer = await ask(moongate, "POST", f"/api/tasks/{task}/permissions/p1", {"answer": "allow"})
    [listed] = (await ask(moongate, "GET", f"/api/tasks/{task}/permissions")).body["permissions"]

    assert (answer.status, answer.message) == (409, "the agent no longer waits for an answer to p1.")
    assert (listed["answer"], listed["reason"], listed["answered_by"]) == ("deny", "withdrawn", None)


async def test_what_is_unknown_or_wrong_is_refused(moongate: Serving) -> None:
    task = await asking(moongate)
    path = f"/api/tasks/{task}/permissions"
    allow = {"answer": "allow"}

    unknown = await ask(moongate, "POST", f"{path}/p2", allow)
    odd = await ask(moongate, "POST", f"{path}/..%2f", allow)
    nowhere = await ask(moongate, "POST", "/api/tasks/01ZZZZ/permissions/p1", allow)
    wrong = await ask(moongate, "POST", f"{path}/p1", {"answer": "perhaps"})
    more = await ask(moongate, "POST", f"{path}/p1", {**allow, "more": 1})

    assert (unknown.status, unknown.code) == (404, "NOT_FOUND")
    assert unknown.message == f"the task {task} has no permission request p2."
    assert (odd.status, nowhere.status, nowhere.code) == (404, 404, "RUN_NOT_FOUND")
    assert (wrong.status, more.status) == (400, 400)
    assert (await ask(moongate, "GET", path)).body["permissions"][0]["answer"] is None


async def test_who_may_only_read_cannot_answer(moongate: Serving) -> None:
    task = await asking(moongate)
    secret = await token(moongate, "reader", "read")
    path = f"/api/tasks/{task}/permissions"

    assert (await ask(moongate, "GET", path, token=secret)).status == 200
    assert (await ask(moongate, "POST", f"{path}/p1", {"answer": "allow"}, token=secret)).status == 403


# --- questions ----------------------------------------------------------------------------------

QUESTION: dict[str, Any] = {
    "message": "Which colour?",
    "fields": [
        {
            "name": "colour",
            "title": "Colour",
            "description": "",
            "type": "choice",
            "options": [
                {"value": "red", "label": "Red", "description": "warm"},
                {"value": "blue", "label": "Blue", "description": "cold"},
            ],
            "multiple": False,
            "required": True,
            "custom": False,
        },
        {
            "name": "count",
            "title": "How many",
            "description": "",
            "type": "integer",
            "options": [],
            "multiple": False,
            "required": False,
            "custom": False,
        },
    ],
}


async def asking_question(served: Serving) -> str:
    return await asking(served, msgspec.json.encode(QUESTION).decode(), "question")


async def test_a_question_is_listed_and_answered_with_content(moongate: Serving) -> None:
    task = await asking_question(moongate)
    [waiting] = (await ask(moongate, "GET", f"/api/tasks/{task}")).body["permissions"]
    content = {"colour": "blue", "count": 3}
    answered = await ask(
        moongate, "POST", f"/api/tasks/{task}/permissions/p1", {"answer": "answer", "content": content}
    )
    ended = await done(moongate, task)
    async with stream(moongate, f"/api/tasks/{task}/events") as events:
        asked, told = [frame.data for frame in await events.rest() if frame.event == "permission"]

    assert (waiting["question"], waiting["content"]) == (QUESTION, None)
    assert (waiting["action"], waiting["choices"]) == ("Which colour?", ["answer", "deny"])
    assert (answered.body["permission"]["answer"], answered.body["permission"]["content"]) == ("answer", content)
    assert msgspec.json.decode(ended["result"]) == content
    assert asked["question"] == QUESTION
    assert told == {
        "kind": "permission",
        "id": "p1",
        "action": "Which colour?",
        "answer": "answer",
        "by": "owner",
        "content": content,
    }


async def test_a_question_can_be_denied(moongate: Serving) -> None:
    task = await asking_question(moongate)
    await ask(moongate, "POST", f"/api/tasks/{task}/permissions/p1", {"answer": "deny"})

    assert (await done(moongate, task))["result"] == "null"


async def test_content_that_does_not_fit_is_refused_with_the_name_of_the_field(moongate: Serving) -> None:
    task = await asking_question(moongate)
    path = f"/api/tasks/{task}/permissions/p1"

    async def refusal(content: Any) -> tuple[int, str]:
        answered = await ask(moongate, "POST", path, {"answer": "answer", "content": content})
        return answered.status, answered.message

    assert await refusal({"colour": "green"}) == (400, "content.colour: it must be one of red, blue.")
    assert await refusal({"colour": "red", "count": "3"}) == (400, "content.count: it must be an integer.")
    assert await refusal({"count": 3}) == (400, "content.colour: an answer is required: one of red, blue.")
    assert (await refusal({"colour": {"a": 1}}))[0] == 400
    assert (await refusal(["red"]))[0] == 400
    assert (await ask(moongate, "GET", path.removesuffix("/p1"))).body["permissions"][0]["answer"] is None


async def test_a_second_answer_to_a_question_is_a_conflict(moongate: Serving) -> None:
    task = await asking_question(moongate)
    path, body = f"/api/tasks/{task}/permissions/p1", {"answer": "answer", "content": {"colour": "red"}}
    first, again = [await ask(moongate, "POST", path, body, Idempotency_Key="one") for _ in range(2)]
    second = await ask(moongate, "POST", path, body)

    assert (first.status, again.body) == (200, first.body)
    assert (second.status, second.message) == (409, "p1 was answered already: answer, by owner.")


# --- over all tasks ---------------------------------------------------------------------------


async def test_what_waits_is_listed_over_all_tasks_until_it_is_answered(moongate: Serving) -> None:
    first, second = await asking(moongate, "one"), await asking(moongate, "two")
    waiting = (await ask(moongate, "GET", "/api/permissions?waiting=true")).body
    await ask(moongate, "POST", f"/api/tasks/{first}/permissions/p1", {"answer": "allow"})
    [left] = (await ask(moongate, "GET", "/api/permissions?waiting=true")).body["permissions"]
    [settled] = (await ask(moongate, "GET", "/api/permissions?waiting=false")).body["permissions"]
    task = (await ask(moongate, "GET", f"/api/tasks/{second}")).body

    assert [(one["task"], one["action"]) for one in waiting["permissions"]] == [(second, "two"), (first, "one")]
    assert waiting["next_cursor"] is None
    asked = {"agentId": task["task"]["agentId"], "session": task["task"]["session"]}
    assert left == waiting["permissions"][0] == task["permissions"][0] | asked
    assert (settled["task"], settled["answer"], settled["answered_by"]) == (first, "allow", "owner")


async def test_all_requests_are_listed_page_by_page(moongate: Serving) -> None:
    tasks = [await asking(moongate, str(number)) for number in range(2)]
    first = (await ask(moongate, "GET", "/api/permissions?limit=1")).body
    rest = (await ask(moongate, "GET", f"/api/permissions?limit=1&cursor={first['next_cursor']}")).body

    listed = [one["task"] for one in [*first["permissions"], *rest["permissions"]]]
    assert (listed, rest["next_cursor"]) == (tasks[::-1], None)


async def test_a_request_of_a_cancelled_task_does_not_wait(moongate: Serving) -> None:
    task = await asking(moongate)
    await ask(moongate, "POST", f"/api/tasks/{task}/cancel")
    await done(moongate, task)

    assert (await ask(moongate, "GET", "/api/permissions?waiting=true")).body["permissions"] == []
    [settled] = (await ask(moongate, "GET", "/api/permissions")).body["permissions"]
    assert (settled["task"], settled["answer"], settled["reason"]) == (task, "deny", "withdrawn")
