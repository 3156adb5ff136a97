"""`POST /api/agent`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harness.waiting import PATIENCE
from tests.api.client import ask, done, stream
from tests.support.inprocess import Serving, serving


async def test_an_agent_answers_in_the_shape_of_the_seed(moongate: Serving) -> None:
    async with moongate.client.post("/api/agent", json={"message": "What is 2+2?"}) as response:
        body = await response.json()

    assert response.status == 200
    assert (body["status"], body["reply"], body["session"]) == ("ok", "echo: What is 2+2?", "default")
    assert response.headers["X-Run-Id"] == body["run_id"]


async def test_a_named_session_is_remembered(moongate: Serving) -> None:
    replies = []
    for _ in range(2):
        async with moongate.client.post("/api/agent", json={"message": "@@ history", "session": "s"}) as response:
            replies.append((await response.json())["reply"])

    assert replies == ["0 messages", "2 messages"]


@pytest.mark.parametrize("notice", ["session_restarted", "context_shortened"])
async def test_an_answer_tells_what_the_agent_did_not_have_of_the_conversation(moongate: Serving, notice: str) -> None:
    answer = await ask(moongate, "POST", "/api/agent", {"message": f"@@ notice {notice}\n@@ say yes"})
    task = (await ask(moongate, "GET", f"/api/tasks/{answer.body['run_id']}")).body["task"]
    said = {"channel": "webchat", "chat_id": "1", "content": f"@@ notice {notice}\n@@ say yes"}
    replied = await ask(moongate, "POST", "/api/message/sync", said)
    plain = await ask(moongate, "POST", "/api/agent", {"message": "hello"})

    assert (answer.body[notice], task[notice], replied.body[notice]) == (True, True, True)
    assert sum(task[each] for each in ("session_restarted", "context_shortened")) == 1
    assert notice not in plain.body


async def test_a_stream_gives_the_events_and_then_what_the_answer_would_be(moongate: Serving) -> None:
    headers = {"Accept": "text/event-stream"}
    async with moongate.client.post("/api/agent", json={"message": "@@ words 3 0"}, headers=headers) as response:
        text = await response.text()

    kinds = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert kinds[:2] == ["status", "status"]
    assert kinds[-2:] == ["end", "result"]
    assert '"reply":"w0 w1 w2 "' in text


async def test_the_same_key_gives_the_same_run(moongate: Serving) -> None:
    headers = {"Idempotency-Key": "k1"}
    answers = []
    for _ in range(2):
        async with moongate.client.post("/api/agent", json={"message": "once"}, headers=headers) as response:
            answers.append(await response.json())

    assert answers[0]["run_id"] == answers[1]["run_id"]


async def test_the_same_key_with_another_body_is_a_conflict(moongate: Serving) -> None:
    headers = {"Idempotency-Key": "k1"}
    async with moongate.client.post("/api/agent", json={"message": "one"}, headers=headers):
        pass
    async with moongate.client.post("/api/agent", json={"message": "two"}, headers=headers) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (409, "CONFLICT")


async def test_a_client_that_goes_away_does_not_cancel_its_run(moongate: Serving, pace: asyncio.Semaphore) -> None:
    asking = asyncio.create_task(moongate.client.post("/api/agent", json={"message": "@@ sleep 1\n@@ say done"}))
    while not (runs := await _tasks(moongate)):
        assert not asking.done(), asking.result()
    asking.cancel()
    await asyncio.wait({asking})
    pace.release()

    ended = await moongate.engine.runs.wait_for_run(runs[0]["id"], PATIENCE)

    assert (ended.status, ended.result) == ("succeeded", "done")


async def _tasks(moongate: Serving) -> list[dict[str, str]]:
    async with moongate.client.get("/api/tasks") as response:
        return list((await response.json())["tasks"])


@pytest.mark.parametrize(
    ("message", "timeout", "status", "code"),
    [
        ("@@ fail it rained", PATIENCE, 502, "AGENT_ERROR"),
        ("@@ crash", PATIENCE, 502, "AGENT_ERROR"),
        ("@@ hang", 0.2, 504, "TIMEOUT"),
    ],
)
async def test_a_run_that_fails_is_the_documented_error(
    moongate: Serving, message: str, timeout: float, status: int, code: str
) -> None:
    answer = await ask(moongate, "POST", "/api/agent", {"message": message, "timeout": timeout})

    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["X-Run-Id"] == answer.body["error"]["details"]["run_id"]


async def test_a_stream_of_a_run_that_fails_ends_with_the_error(moongate: Serving) -> None:
    async with stream(moongate, "/api/agent", method="POST", body={"message": "@@ fail it rained"}) as events:
        *_, end, last = await events.rest()

    assert (end.event, end.data["status"]) == ("end", "failed")
    assert (last.event, last.data["error"]["code"]) == ("error", "AGENT_ERROR")
    assert last.data["error"]["message"] == "it rained"


async def test_a_cancelled_run_is_a_conflict_for_who_waits_for_it(moongate: Serving) -> None:
    asking = asyncio.create_task(ask(moongate, "POST", "/api/agent", {"message": "@@ hang"}))
    while not (runs := await _tasks(moongate)):
        assert not asking.done(), asking.result()
    cancelled = await ask(moongate, "POST", f"/api/tasks/{runs[0]['id']}/cancel")
    assert cancelled.status == 200, cancelled

    async with asyncio.timeout(PATIENCE):
        answer = await asking

    assert (answer.status, answer.code) == (409, "CONFLICT")


async def test_a_wait_that_is_too_long_says_which_run_goes_on(tmp_path: Path, pace: asyncio.Semaphore) -> None:
    async with serving(tmp_path / "home", {"limits": {"wait_seconds": 0.05}}) as served:
        answer = await ask(served, "POST", "/api/agent", {"message": "@@ sleep 1"})
        pace.release()
        ended = await done(served, answer.body["error"]["details"]["run_id"])

    assert (answer.status, answer.code) == (504, "TIMEOUT")
    assert ended["status"] == "succeeded"


@pytest.mark.parametrize("name", ["notes", "task:42", "-100123", "чат/7", "main:api:notes", "main:webchat:9"])
async def test_a_session_is_echoed_as_it_was_named(moongate: Serving, name: str) -> None:
    answer = await ask(moongate, "POST", "/api/agent", {"message": "hi", "session": name})

    assert (answer.status, answer.body["session"]) == (200, name)


async def test_a_raw_name_and_its_full_key_are_one_session(moongate: Serving) -> None:
    await ask(moongate, "POST", "/api/agent", {"message": "hi", "session": "task:42"})
    answer = await ask(moongate, "POST", "/api/agent", {"message": "@@ history", "session": "main:api:task:42"})

    assert answer.body["reply"] == "2 messages"


async def test_the_full_key_of_the_longest_chat_is_taken(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/api/agent", {"message": "hi", "session": "main:api:" + "x" * 128})

    assert answer.status == 200


async def test_a_session_of_another_agent_than_the_one_named_is_refused(tmp_path: Path) -> None:
    agents = {"agents": {"list": [{"id": "one", "backend": "echo"}, {"id": "two", "backend": "echo"}]}}
    async with serving(tmp_path / "home", agents) as served:
        answer = await ask(served, "POST", "/api/agent", {"message": "hi", "session": "one:api:x", "agentId": "two"})

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


async def test_a_disabled_agent_is_refused(tmp_path: Path) -> None:
    agents = {
        "agents": {"list": [{"id": "one", "backend": "echo"}, {"id": "off", "backend": "echo", "enabled": False}]}
    }
    async with serving(tmp_path / "home", agents) as served:
        answer = await ask(served, "POST", "/api/agent", {"message": "hi", "agentId": "off"})

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html"])
async def test_without_asking_for_a_stream_there_is_json(moongate: Serving, accept: str) -> None:
    answer = await ask(moongate, "POST", "/api/agent", {"message": "hi"}, Accept=accept)

    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("accept", ["text/event-stream", "Text/Event-Stream", "application/json, text/event-stream"])
async def test_who_names_streams_gets_one(moongate: Serving, accept: str) -> None:
    answer = await ask(moongate, "POST", "/api/agent", {"message": "hi"}, Accept=accept)

    assert answer.headers["Content-Type"].startswith("text/event-stream")
