"""`Idempotency-Key`: the same request sent twice is done once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.client import Answer, ask, done, submit, token
from tests.support.inprocess import Serving

pytestmark = pytest.mark.both_stores

MESSAGE = {"channel": "webchat", "chat_id": "1", "content": "hi"}
#: each POST that makes something, with a body, another body, and what its answer is about
MAKERS: list[tuple[str, dict[str, Any], dict[str, Any], Any]] = [
    ("/api/message", MESSAGE, {**MESSAGE, "content": "ho"}, lambda body: body["message_id"]),
    ("/api/message/sync", MESSAGE, {**MESSAGE, "content": "ho"}, lambda body: body["message_id"]),
    ("/api/agent", {"message": "hi"}, {"message": "ho"}, lambda body: body["run_id"]),
    ("/api/tasks", {"input": "hi"}, {"input": "ho"}, lambda body: body["task"]["id"]),
    ("/api/sessions", {"channel": "a"}, {"channel": "b"}, lambda body: body["session"]["key"]),
]


async def sent(moongate: Serving, path: str, body: Any = None, key: str = "k", **more: Any) -> Answer:
    return await ask(moongate, "POST", path, body, Idempotency_Key=key, **more)


@pytest.mark.parametrize(("path", "body", "other", "made"), MAKERS)
async def test_the_same_key_gives_the_same_result(
    moongate: Serving, path: str, body: Any, other: Any, made: Any
) -> None:
    first, second = await sent(moongate, path, body), await sent(moongate, path, body)

    assert first.status == second.status
    assert made(first.body) == made(second.body)


@pytest.mark.parametrize(("path", "body", "other", "made"), MAKERS)
async def test_another_body_under_the_same_key_is_a_conflict(
    moongate: Serving, path: str, body: Any, other: Any, made: Any
) -> None:
    await sent(moongate, path, body)
    answer = await sent(moongate, path, other)

    assert (answer.status, answer.code) == (409, "CONFLICT")
    assert "new key" in answer.message


@pytest.mark.parametrize(("path", "body", "other", "made"), [maker for maker in MAKERS if maker[0] != "/api/sessions"])
async def test_a_key_belongs_to_a_token_and_a_route(
    moongate: Serving, path: str, body: Any, other: Any, made: Any
) -> None:
    secret = await token(moongate, "another", "write")
    first = await sent(moongate, path, body)
    second = await sent(moongate, path, other, token=secret)
    elsewhere = await sent(
        moongate,
        "/api/tasks" if path == "/api/agent" else "/api/agent",
        {"input": "x"} if path == "/api/agent" else {"message": "x"},
    )

    assert made(first.body) != made(second.body)
    assert elsewhere.status < 300


async def test_twenty_at_once_make_one_run(moongate: Serving) -> None:
    answers = await asyncio.gather(*(sent(moongate, "/api/tasks", {"input": "hi"}) for _ in range(20)))

    assert len({answer.body["task"]["id"] for answer in answers}) == 1
    assert len((await ask(moongate, "GET", "/api/tasks")).body["tasks"]) == 1


async def test_fields_in_another_order_are_the_same_body(moongate: Serving) -> None:
    first = await sent(moongate, "/api/tasks", {"input": "hi", "priority": 1, "labels": {"a": "1", "b": "2"}})
    second = await sent(moongate, "/api/tasks", {"labels": {"b": "2", "a": "1"}, "priority": 1, "input": "hi"})

    assert first.body["task"]["id"] == second.body["task"]["id"]


async def test_a_cancel_is_the_same_when_it_is_repeated(moongate: Serving) -> None:
    task = await submit(moongate, "@@ hang")
    first = await sent(moongate, f"/api/tasks/{task['id']}/cancel")
    await done(moongate, task["id"])
    second = await sent(moongate, f"/api/tasks/{task['id']}/cancel")
    other = await sent(moongate, f"/api/tasks/{task['id']}/cancel", key="another")

    assert (first.status, second.status, other.status) == (200, 200, 409)
    assert second.body["task"]["status"] == "cancelled"


async def test_the_key_of_a_cancel_belongs_to_its_task(moongate: Serving) -> None:
    tasks = [await submit(moongate, "@@ hang") for _ in range(2)]
    answers = [await sent(moongate, f"/api/tasks/{task['id']}/cancel") for task in tasks]

    assert [answer.status for answer in answers] == [200, 409]


async def test_a_refused_cancel_leaves_its_key_free(moongate: Serving) -> None:
    task = await submit(moongate, "hi")
    await done(moongate, task["id"])

    for _ in range(2):
        assert (await sent(moongate, f"/api/tasks/{task['id']}/cancel")).status == 409


async def test_a_retry_is_done_once(moongate: Serving) -> None:
    task = await submit(moongate, "@@ fail")
    await done(moongate, task["id"])

    answers = [await sent(moongate, f"/api/tasks/{task['id']}/retry") for _ in range(2)]

    assert len({answer.body["task"]["id"] for answer in answers}) == 1


async def test_a_token_whose_secret_was_lost_is_made_anew(moongate: Serving) -> None:
    body = {"name": "ci", "scope": "read"}
    first, second = [(await sent(moongate, "/api/tokens", body)).body["token"] for _ in range(2)]

    assert (await ask(moongate, "GET", "/api/tasks", token=first)).status == 401
    assert (await ask(moongate, "GET", "/api/tasks", token=second)).status == 200
    assert len((await ask(moongate, "GET", "/api/tokens")).body["tokens"]) == 1
    assert (await sent(moongate, "/api/tokens", {**body, "scope": "admin"})).code == "CONFLICT"
    assert (await ask(moongate, "POST", "/api/tokens", body)).code == "CONFLICT"


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "clé"])
async def test_a_key_that_cannot_be_one_is_refused(moongate: Serving, key: str) -> None:
    answer = await sent(moongate, "/api/tasks", {"input": "hi"}, key=key)

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert answer.message.startswith("Idempotency-Key")


async def test_a_token_made_again_under_an_old_name_does_not_share_its_keys(moongate: Serving) -> None:
    first = await token(moongate, "bot", "write")
    old = await ask(moongate, "POST", "/api/tasks", {"input": "old"}, token=first, Idempotency_Key="k")
    await ask(moongate, "DELETE", "/api/tokens/bot")
    second = await token(moongate, "bot", "write")

    new = await ask(moongate, "POST", "/api/tasks", {"input": "new"}, token=second, Idempotency_Key="k")

    assert (old.status, new.status) == (202, 202)
    assert old.body["task"]["id"] != new.body["task"]["id"]
