"""`/api/sessions`: open, list, read, delete."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.api.client import Answer, ask, done, running, submit
from tests.support.inprocess import Serving, serving


async def opened(moongate: Serving, **body: object) -> Answer:
    return await ask(moongate, "POST", "/api/sessions", body)


async def test_a_session_is_opened_in_the_shape_of_the_seed(moongate: Serving) -> None:
    answer = await opened(moongate, channel="web", chat_id="7", agentId="main")

    assert (answer.status, answer.body["status"]) == (200, "ok")
    session = answer.body["session"]
    assert (session["key"], session["agentId"], session["channel"], session["chat_id"]) == (
        "main:web:7",
        "main",
        "web",
        "7",
    )
    assert session["created_at"].endswith("Z")


async def test_all_fields_may_be_left_out(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/api/sessions")

    assert answer.body["session"]["key"].startswith("main:webchat:")


async def test_the_same_chat_is_the_same_session(moongate: Serving) -> None:
    keys = {(await opened(moongate, chat_id="7")).body["session"]["key"] for _ in range(2)}

    assert keys == {"main:webchat:7"}


async def test_an_empty_session_is_used_again_and_a_used_one_is_not(moongate: Serving) -> None:
    first = (await opened(moongate)).body["session"]
    again = (await opened(moongate)).body["session"]
    await ask(moongate, "POST", "/api/agent", {"message": "hi", "session": first["key"]})
    fresh = (await opened(moongate)).body["session"]

    assert again["key"] == first["key"]
    assert fresh["key"] != first["key"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"agentId": "nobody"}, 404, "AGENT_NOT_FOUND"),
        ({"agentId": "off"}, 400, "INVALID_REQUEST"),
        ({"channel": "a b"}, 400, "INVALID_REQUEST"),
        ({"channel": "a:b"}, 400, "INVALID_REQUEST"),
        ({"chat_id": "a\tb"}, 400, "INVALID_REQUEST"),
        ({"chat": "a"}, 400, "INVALID_REQUEST"),
    ],
)
async def test_what_cannot_be_opened(tmp_path: Path, body: dict[str, object], status: int, code: str) -> None:
    agents = {
        "agents": {"list": [{"id": "one", "backend": "echo"}, {"id": "off", "backend": "echo", "enabled": False}]}
    }
    async with serving(tmp_path / "home", agents) as served:
        answer = await opened(served, **body)

    assert (answer.status, answer.code) == (status, code)


async def test_a_listed_session_tells_counts_and_last_activity(moongate: Serving) -> None:
    await ask(moongate, "POST", "/api/agent", {"message": "hi", "session": "a"})
    task = await submit(moongate, "@@ hang", session="b")

    listed = (await ask(moongate, "GET", "/api/sessions")).body["sessions"]

    assert [(row["chat_id"], row["messages"], row["active"]) for row in listed] == [("b", 0, 1), ("a", 2, 0)]
    assert all(row["last_activity"] >= row["created_at"] for row in listed)
    await ask(moongate, "POST", f"/api/tasks/{task['id']}/cancel")


async def test_pages_hold_every_session_once_the_last_used_first(moongate: Serving) -> None:
    for chat in "abcdef":
        await opened(moongate, chat_id=chat)
    seen, cursor = [], ""
    while cursor is not None:
        page = (await ask(moongate, "GET", f"/api/sessions?limit=2{cursor}")).body
        seen.append([row["chat_id"] for row in page["sessions"]])
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"

    assert seen == [["f", "e"], ["d", "c"], ["b", "a"]]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=-1",
        "cursor=x",
        "cursor=-1",
        "cursor=" + "9" * 19,
        "x=1",
        "limit=1&limit=2",
    ],
)
async def test_a_bad_page_is_refused(moongate: Serving, query: str) -> None:
    answer = await ask(moongate, "GET", f"/api/sessions?{query}")

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert answer.message.startswith(("query: ", "a query parameter"))


@pytest.mark.parametrize(
    "chat", ["-100123", "чат 7", "a/b:c", "a/history", "a%2Fb", "..", "?x=1#y", "a+b", "{x}", "task:42"]
)
async def test_a_path_key_is_percent_encoded(moongate: Serving, chat: str) -> None:
    key = f"main:webchat:{chat}"
    await ask(moongate, "POST", "/api/message/sync", {"channel": "webchat", "chat_id": chat, "content": "hi"})

    shown = await ask(moongate, "GET", f"/api/sessions/{quote(key, safe='')}")
    told = await ask(moongate, "GET", f"/api/sessions/{quote(key, safe='')}/history")

    assert shown.body["session"]["key"] == key
    assert told.body["sessionKey"] == key
    assert len(shown.body["messages"]) == len(told.body["messages"]) == 2


async def test_a_raw_name_is_found_and_echoed(moongate: Serving) -> None:
    await ask(moongate, "POST", "/api/agent", {"message": "hi", "session": "task:42"})
    told = await ask(moongate, "GET", f"/api/sessions/{quote('task:42')}/history")

    assert told.body["sessionKey"] == "task:42"
    assert [(line["role"], line["content"]) for line in told.body["messages"]] == [
        ("user", "hi"),
        ("assistant", "echo: hi"),
    ]
    assert set(told.body["messages"][0]) == {"role", "content", "files", "at", "run_id"}


async def test_a_raw_name_without_a_session_of_the_api_is_the_newest_of_that_name(moongate: Serving) -> None:
    await opened(moongate, channel="one", chat_id="x")
    await opened(moongate, channel="two", chat_id="x")

    shown = await ask(moongate, "GET", "/api/sessions/x")

    assert shown.body["session"]["key"] == "main:two:x"


async def test_history_may_be_limited_to_its_newest_messages(moongate: Serving) -> None:
    for message in "ab":
        await ask(moongate, "POST", "/api/agent", {"message": message, "session": "s"})

    told = await ask(moongate, "GET", "/api/sessions/s/history?limit=1")

    assert [line["content"] for line in told.body["messages"]] == ["echo: b"]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/history"), ("DELETE", "")])
@pytest.mark.parametrize("name", ["nothing", "main:api:nothing", "%00", "%FF", "%ED%A0%80", "a" * 5000])
async def test_an_unknown_session_is_not_found(moongate: Serving, method: str, path: str, name: str) -> None:
    answer = await ask(moongate, method, f"/api/sessions/{name}{path}")

    assert (answer.status, answer.code) == (404, "SESSION_NOT_FOUND")
    assert len(answer.message) < 1000


async def test_a_deleted_session_is_gone_with_its_transcript(moongate: Serving) -> None:
    await ask(moongate, "POST", "/api/agent", {"message": "hi", "session": "s"})
    deleted = await ask(moongate, "DELETE", "/api/sessions/s")
    again = await ask(moongate, "DELETE", "/api/sessions/s")
    fresh = await ask(moongate, "POST", "/api/agent", {"message": "@@ history", "session": "s"})

    assert (deleted.status, deleted.body) == (200, {"status": "ok"})
    assert again.code == "SESSION_NOT_FOUND"
    assert fresh.body["reply"] == "0 messages"


async def test_a_busy_session_is_deleted_only_by_force(moongate: Serving) -> None:
    task = await submit(moongate, "@@ hang", session="s")
    await running(moongate, task["id"])
    waiting = await submit(moongate, "next", session="s")

    refused = await ask(moongate, "DELETE", "/api/sessions/s")
    forced = await ask(moongate, "DELETE", "/api/sessions/s?force=true")

    assert (refused.status, refused.code) == (409, "CONFLICT")
    assert "force=true" in refused.message
    assert forced.status == 200
    ended = [await done(moongate, run["id"]) for run in (task, waiting)]
    assert [run["status"] for run in ended] == ["cancelled", "cancelled"]
    assert (await ask(moongate, "GET", "/api/sessions/s")).status == 404


@pytest.mark.parametrize("force", ["maybe", "", "2"])
async def test_force_is_yes_or_no(moongate: Serving, force: str) -> None:
    answer = await ask(moongate, "DELETE", f"/api/sessions/s?force={force}")

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


async def test_messages_are_rendered_if_asked(moongate: Serving) -> None:
    await ask(moongate, "POST", "/api/agent", {"message": "**a** <b>", "session": "s"})
    plain = (await ask(moongate, "GET", "/api/sessions/s")).body["messages"]
    shown, told = [
        (await ask(moongate, "GET", f"/api/sessions/s{path}?render=html")).body["messages"] for path in ("", "/history")
    ]

    assert [line["html"] for line in shown] == [
        "<p><strong>a</strong> &lt;b&gt;</p>\n",
        "<p>echo: <strong>a</strong> &lt;b&gt;</p>\n",
    ]
    assert told == shown
    assert plain == [{name: value for name, value in line.items() if name != "html"} for line in shown]


async def test_of_long_messages_the_newest_are_rendered(moongate: Serving) -> None:
    for letter in "ab":
        await ask(moongate, "POST", "/api/agent", {"message": letter * 70_000, "session": "s"})

    shown = (await ask(moongate, "GET", "/api/sessions/s/history?render=html")).body["messages"]

    assert [line["html"] is None for line in shown] == [True, False, False, False]


async def test_a_title_that_a_person_gave_stays(moongate: Serving) -> None:
    await opened(moongate, chat_id="s")
    named = await ask(moongate, "PATCH", "/api/sessions/main:webchat:s", {"title": "  Release   notes "})
    await ask(moongate, "POST", "/api/message/sync", {"channel": "webchat", "chat_id": "s", "content": "hi"})
    shown = (await ask(moongate, "GET", "/api/sessions/main:webchat:s")).body["session"]

    assert (named.status, named.body["session"]["title"]) == (200, "Release notes")
    assert (shown["title"], shown["messages"]) == ("Release notes", 2)


async def test_a_new_title_replaces_that_of_the_first_message(moongate: Serving) -> None:
    await ask(moongate, "POST", "/api/agent", {"message": "hi", "session": "s"})
    await ask(moongate, "PATCH", "/api/sessions/s", {"title": "mine"})

    assert (await ask(moongate, "GET", "/api/sessions/s")).body["session"]["title"] == "mine"


async def test_a_session_with_a_title_is_not_taken_for_a_new_one(moongate: Serving) -> None:
    first = (await opened(moongate)).body["session"]
    await ask(moongate, "PATCH", f"/api/sessions/{first['key']}", {"title": "mine"})

    assert (await opened(moongate)).body["session"]["key"] != first["key"]


async def test_a_rename_is_a_change_that_others_see_once(moongate: Serving) -> None:
    await opened(moongate, chat_id="s")
    for _ in range(2):
        await ask(moongate, "PATCH", "/api/sessions/main:webchat:s", {"title": "mine"})
    changes = await moongate.engine._store.events.read_changes_after(0, 100)

    assert [one.state for one in changes if one.topic == "session"] == ["created", "renamed"]


@pytest.mark.parametrize(
    ("name", "title", "status", "code"),
    [
        ("s", "", 400, "INVALID_REQUEST"),
        ("s", " ", 400, "INVALID_REQUEST"),
        ("s", "a\nb", 400, "INVALID_REQUEST"),
        ("s", "a\u202eb", 400, "INVALID_REQUEST"),
        ("s", "a" * 101, 400, "INVALID_REQUEST"),
        ("s", None, 400, "INVALID_REQUEST"),
        ("nothing", "a", 404, "SESSION_NOT_FOUND"),
    ],
)
async def test_a_title_that_cannot_be_given(
    moongate: Serving, name: str, title: str | None, status: int, code: str
) -> None:
    await opened(moongate, chat_id="s")
    answer = await ask(moongate, "PATCH", f"/api/sessions/{name}", {"title": title})

    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    ("query", "chats"),
    [
        ("agent=one", ["c_2", "b", "a"]),
        ("agent=two", ["a"]),
        ("agent=gone", []),
        ("agent=one&channel=web", ["c_2", "a"]),
        ("channel=mail", ["b"]),
        ("channel=none", []),
        ("q=MY%20ti", ["b"]),
        ("q=web:a", ["a", "a"]),
        ("q=_", ["c_2"]),
        ("q=%25", []),
        ("q=%5C", []),
        ("q=a&agent=two&channel=web", ["a"]),
    ],
)
async def test_sessions_are_listed_by_agent_channel_and_words(tmp_path: Path, query: str, chats: list[str]) -> None:
    agents = {"agents": {"list": [{"id": "one", "backend": "echo"}, {"id": "two", "backend": "echo"}]}}
    async with serving(tmp_path / "home", agents) as served:
        for agent, channel, chat in (("one", "web", "a"), ("two", "web", "a"), ("one", "mail", "b")):
            await opened(served, agentId=agent, channel=channel, chat_id=chat)
        await ask(served, "PATCH", "/api/sessions/one:mail:b", {"title": "My title"})
        await opened(served, agentId="one", channel="web", chat_id="c_2")
        found = await ask(served, "GET", f"/api/sessions?{query}")
        first = await ask(served, "GET", f"/api/sessions?{query}&limit=1")

    assert [row["chat_id"] for row in found.body["sessions"]] == chats
    assert (first.body["next_cursor"] is not None) == (len(chats) > 1)
