"""`POST /api/agent`."""

from __future__ import annotations

import asyncio

from tests.support.inprocess import Serving


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


async def test_a_client_that_goes_away_does_not_cancel_its_run(moongate: Serving) -> None:
    asking = asyncio.create_task(moongate.client.post("/api/agent", json={"message": "@@ sleep 0.3\n@@ say done"}))
    while not (runs := await _tasks(moongate)):
        await asyncio.sleep(0.01)
    asking.cancel()

    ended = await moongate.engine.wait(runs[0]["id"], 10)

    assert (ended.status, ended.result) == ("succeeded", "done")


async def _tasks(moongate: Serving) -> list[dict[str, str]]:
    async with moongate.client.get("/api/tasks") as response:
        return list((await response.json())["tasks"])
