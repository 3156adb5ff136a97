"""`POST /api/message` and `/api/message/sync`."""

from __future__ import annotations

import re

import pytest

from tests.api.client import ask, done
from tests.support.inprocess import Serving

HELLO = {"channel": "webchat", "chat_id": "123", "content": "Hello!"}


async def test_a_message_is_taken_at_once_in_the_shape_of_the_seed(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/api/message", {**HELLO, "content": "@@ hang"})

    assert (answer.status, set(answer.body)) == (200, {"status", "message_id"})
    assert answer.headers["X-Run-Id"] == answer.body["message_id"]


async def test_the_reply_to_a_message_is_in_its_chat(moongate: Serving) -> None:
    sent = await ask(moongate, "POST", "/api/message", HELLO)
    await done(moongate, sent.body["message_id"])

    shown = await ask(moongate, "GET", "/api/sessions/main:webchat:123")

    assert [(line["role"], line["content"]) for line in shown.body["messages"]] == [
        ("user", "Hello!"),
        ("assistant", "echo: Hello!"),
    ]


async def test_a_message_can_wait_for_its_reply(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/api/message/sync", HELLO)

    assert answer.status == 200
    assert {**answer.body, "message_id": answer.headers["X-Run-Id"]} == answer.body
    assert (answer.body["status"], answer.body["reply"]) == ("ok", "echo: Hello!")
    assert answer.body["session"] == "main:webchat:123"


async def test_a_reply_that_was_cut_says_why(moongate: Serving) -> None:
    cut = {**HELLO, "content": "@@ say half\n@@ finish length"}
    answer = await ask(moongate, "POST", "/api/message/sync", cut)
    asked = await ask(moongate, "POST", "/api/agent", {"message": cut["content"]})
    task = await ask(moongate, "GET", f"/api/tasks/{answer.body['message_id']}")

    assert (answer.body["reply"], answer.body["finish"]) == ("half", "length")
    assert (asked.body["reply"], asked.body["finish"]) == ("half", "length")
    assert task.body["task"]["finish"] == "length"


@pytest.mark.parametrize("route", ["/api/message", "/api/message/sync"])
@pytest.mark.parametrize("channel", ["telegram", "nowhere"])
async def test_an_unknown_channel_is_not_found(moongate: Serving, route: str, channel: str) -> None:
    answer = await ask(moongate, "POST", route, {**HELLO, "channel": channel})

    assert (answer.status, answer.code) == (404, "CHANNEL_NOT_FOUND")
    assert channel in answer.message
    assert "webchat" in answer.message


@pytest.mark.parametrize("chat", ["-1001234567890", "чат 7", "a/b:c", "%2F", "..", "task:42", "x" * 128])
async def test_chat_ids_may_be_any_printable_text(moongate: Serving, chat: str) -> None:
    answer = await ask(moongate, "POST", "/api/message/sync", {**HELLO, "chat_id": chat})

    assert (answer.status, answer.body["session"]) == (200, f"main:webchat:{chat}")


@pytest.mark.parametrize("chat", ["", "x" * 129, "a\nb", "a\0b", "\x1b[31m", "\u202e", 123, None])
async def test_other_chat_ids_are_refused(moongate: Serving, chat: object) -> None:
    answer = await ask(moongate, "POST", "/api/message", {**HELLO, "chat_id": chat})

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert "chat_id" in answer.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"content": ""}, "content"),
        ({"content": 5}, "content"),
        ({"channel": "no such"}, "channel"),
        ({"agentId": ""}, "agentId"),
        ({"agentId": "x" * 200}, "agentId"),
        ({"agent_id": "main"}, 'agent_id: unknown field; did you mean "agentId"?'),
        ({"extra": 1}, "extra: unknown field"),
    ],
)
async def test_a_refusal_names_the_field(moongate: Serving, change: dict[str, object], said: str) -> None:
    answer = await ask(moongate, "POST", "/api/message", {**HELLO, **change})

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert said in answer.message
    assert re.search(r"\w[^\w.?]*[.?]$", answer.message), "one mark ends the sentence"


async def test_an_unknown_agent_is_not_found(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/api/message", {**HELLO, "agentId": "nobody"})

    assert (answer.status, answer.code) == (404, "AGENT_NOT_FOUND")
    assert "There are: main." in answer.message


@pytest.mark.parametrize("route", ["/api/message", "/api/message/sync"])
@pytest.mark.parametrize("account", [None, "default"])
async def test_the_one_account_of_a_channel_may_be_named(moongate: Serving, route: str, account: object) -> None:
    answer = await ask(moongate, "POST", route, {**HELLO, "accountId": account})

    assert answer.status == 200


@pytest.mark.parametrize("route", ["/api/message", "/api/message/sync"])
@pytest.mark.parametrize("account", ["work", "", "Default"])
async def test_an_account_that_a_channel_does_not_have_is_refused(moongate: Serving, route: str, account: str) -> None:
    answer = await ask(moongate, "POST", route, {**HELLO, "accountId": account})

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert "accountId: the channel 'webchat' has one account" in answer.message
    assert 'Leave accountId out, or send "default".' in answer.message
    assert (await ask(moongate, "GET", "/api/tasks")).body["tasks"] == []
