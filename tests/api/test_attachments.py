"""Files with messages: by id or in base64, on every door that takes a message."""

from __future__ import annotations

import base64
import gc
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.client import Answer, ask, done, head, post, raw, read, token
from tests.api.test_files import on_disk, uploaded
from tests.domain.test_media_type import make_png
from tests.support.inprocess import Serving, serving

CONTENT = b"some content"
HASH = hashlib.sha256(CONTENT).hexdigest()
GIVEN = {"name": "a.txt", "data": base64.b64encode(CONTENT).decode()}
#: each door that takes a message: its path, the body of a message, and the id of the run in its answer
DOORS: dict[str, tuple[Callable[[str], dict[str, Any]], Callable[[Answer], str]]] = {
    "/api/message": (
        lambda text: {"channel": "webchat", "chat_id": "1", "content": text},
        lambda answer: answer.body["message_id"],
    ),
    "/api/message/sync": (
        lambda text: {"channel": "webchat", "chat_id": "1", "content": text},
        lambda answer: answer.body["message_id"],
    ),
    "/api/agent": (lambda text: {"message": text}, lambda answer: answer.body["run_id"]),
    "/api/tasks": (lambda text: {"input": text}, lambda answer: answer.body["task"]["id"]),
    "/hooks/agent": (lambda text: {"message": text}, lambda answer: answer.body["runId"]),
}


async def send(served: Serving, door: str, attachments: Any, text: str = "@@ read", **more: Any) -> Answer:
    return await ask(served, "POST", door, {**DOORS[door][0](text), "attachments": attachments}, **more)


async def run_of(served: Serving, door: str, answer: Answer) -> dict[str, Any]:
    """Return the task of an accepted message, when it has ended."""
    assert answer.status in (200, 202), answer.body
    return await done(served, DOORS[door][1](answer))


@pytest.mark.parametrize("door", DOORS)
async def test_an_agent_gets_the_files_that_come_with_a_message(moongate: Serving, door: str) -> None:
    stored = await uploaded(moongate, make_png(), "photo.png")
    answer = await send(moongate, door, [GIVEN, {"file": stored["id"]}])
    task = await run_of(moongate, door, answer)

    assert task["result"].split() == [HASH, stored["sha256"]]
    shown = [(file["name"], file["media_type"], file["size"]) for file in task["attachments"]]
    assert shown == [("a.txt", "text/plain", len(CONTENT)), ("photo.png", "image/png", stored["size"])]
    assert task["attachments"][1] == stored


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("attachments", "status", "why"),
    [
        ([{"name": "a", "data": "not base64!"}], 400, "attachments[0].data"),
        ([{"name": "a", "data": "data:image/png;base64,AAAA"}], 400, "attachments[0].data"),
        ([{"name": "a", "data": 5}], 400, "attachments[0].data"),
        ([{"name": "a"}], 400, "attachments[0]"),
        ([{}], 400, "attachments[0]"),
        ([GIVEN, {"file": "0" * 26}], 404, "attachments[1]"),
        ([{"file": "%"}], 404, "attachments[0]"),
        ([{"file": "x", "data": "AAAA"}], 400, "attachments[0]"),
        ([{"path": "/etc/passwd"}], 400, "path"),
        ([{"url": "http://127.0.0.1/"}], 400, "url"),
        ([GIVEN] * 11, 413, "files.per_message"),
        ({"file": "x"}, 400, "attachments"),
        ("x", 400, "attachments"),
        ([None], 400, "attachments[0]"),
    ],
)
async def test_wrong_attachments_are_refused_and_nothing_is_left(
    moongate: Serving, door: str, attachments: Any, status: int, why: str
) -> None:
    answer = await send(moongate, door, attachments)

    assert answer.status == status, answer.body
    assert why in str(answer.body["error"])
    assert (await ask(moongate, "GET", "/api/tasks")).body["tasks"] == []
    assert on_disk(moongate) == []


@pytest.mark.parametrize("door", DOORS)
async def test_no_files_are_as_good_as_an_empty_list(moongate: Serving, door: str) -> None:
    task = await run_of(moongate, door, await send(moongate, door, [], "hi"))

    assert (task["result"], task["attachments"], task["files"]) == ("echo: hi", [], [])


@pytest.mark.parametrize("door", DOORS)
async def test_the_same_key_with_the_same_files_is_the_same_run_and_with_others_a_conflict(
    moongate: Serving, door: str
) -> None:
    other = {"name": "a.txt", "data": base64.b64encode(b"other").decode()}
    first = await send(moongate, door, [GIVEN], Idempotency_Key="k")
    again = await send(moongate, door, [GIVEN], Idempotency_Key="k")
    by_id = await send(moongate, door, [{"file": (await uploaded(moongate, CONTENT))["id"]}], Idempotency_Key="k")
    refused = [
        await send(moongate, door, files, Idempotency_Key="k") for files in ([other], [GIVEN, GIVEN], [])
    ]  # fmt: skip

    ids = {DOORS[door][1](answer) for answer in (first, again, by_id)}
    assert len(ids) == 1
    assert [answer.status for answer in refused] == [409] * 3
    assert len((await ask(moongate, "GET", "/api/tasks")).body["tasks"]) == 1
    await run_of(moongate, door, first)
    assert len(on_disk(moongate)) == 1


@pytest.mark.parametrize("door", DOORS)
async def test_a_text_is_as_limited_as_without_files(tmp_path: Path, door: str) -> None:
    async with serving(tmp_path, {"limits": {"body": 100_000}}) as served:
        large = base64.b64encode(os.urandom(2_000_000)).decode()
        taken = await send(served, door, [{"name": "a", "data": large}], "x" * 90_000)
        assert taken.status in (200, 202), taken.body

        for files in ([], [{"file": "x"}] * 10, [{"name": "a", "data": ""}]):
            refused = await send(served, door, files, "x" * 300_000)
            assert refused.status == 413, refused.body


async def test_a_hook_without_files_may_be_as_long_as_ever(moongate: Serving) -> None:
    for path, field in (("/hooks/agent", "message"), ("/hooks/wake", "text")):
        assert (await ask(moongate, "POST", path, {field: "x" * 250_000})).status in (200, 202)
        assert (await ask(moongate, "POST", path, {field: "x" * 263_000})).status == 413


async def test_escaped_slashes_in_base64_are_taken_up_to_the_largest_message(tmp_path: Path) -> None:
    """PHP and some other writers of JSON escape each slash."""
    async with serving(tmp_path, {"files": {"size": 1_000_000, "message_size": 1_000_000}}) as served:
        data = base64.b64encode(b"\xff" * 1_000_000).decode().replace("/", "\\/")
        body = b'{"message": "@@ read", "attachments": [{"name": "a", "data": "%s"}]}' % data.encode()
        answer = read(await raw(served, post("/api/agent", body)))

        # every character is a slash here, which no real file has: twice as long as the limit allows for
        assert answer.status == 413
        mixed = os.urandom(1_000_000)
        data = base64.b64encode(mixed).decode().replace("/", "\\/")
        body = b'{"message": "@@ read", "attachments": [{"name": "a", "data": "%s"}]}' % data.encode()
        answer = read(await raw(served, post("/api/agent", body)))
        assert (answer.status, answer.body["reply"].strip()) == (200, hashlib.sha256(mixed).hexdigest())


async def test_a_message_that_waits_does_not_keep_its_files_in_memory(moongate: Serving) -> None:
    data = base64.b64encode(os.urandom(3_000_000)).decode()
    answer = await send(moongate, "/api/tasks", [{"name": "a", "data": data}], "@@ sleep 5")

    gc.collect()
    large = [one for one in gc.get_objects() if isinstance(one, (bytes, bytearray)) and len(one) > 2_000_000]
    assert (answer.status, large) == (202, [])
    await ask(moongate, "POST", f"/api/tasks/{answer.body['task']['id']}/cancel")


async def test_a_retried_task_has_the_files_of_the_first(moongate: Serving) -> None:
    answer = await send(moongate, "/api/tasks", [GIVEN], "@@ read\n@@ fail once")
    failed = await run_of(moongate, "/api/tasks", answer)
    retried = (await ask(moongate, "POST", f"/api/tasks/{failed['id']}/retry")).body["task"]

    assert failed["status"] == "failed"
    assert retried["attachments"] == failed["attachments"] != []
    assert (await done(moongate, retried["id"]))["status"] == "failed"
    assert (await ask(moongate, "GET", f"/api/files/{failed['attachments'][0]['id']}/info")).body["file"]["uses"] >= 2


async def test_what_an_agent_makes_is_in_its_answer_its_task_its_events_and_its_messages(moongate: Serving) -> None:
    asked = {"message": "@@ say see\n@@ file chart.csv a,b", "session": "charts"}
    answer = (await ask(moongate, "POST", "/api/agent", asked)).body
    (made,) = answer["files"]
    task = (await ask(moongate, "GET", f"/api/tasks/{answer['run_id']}")).body["task"]
    events = (await ask(moongate, "GET", f"/api/tasks/{answer['run_id']}/events", Accept="application/json")).body[
        "events"
    ]
    messages = (await ask(moongate, "GET", "/api/sessions/main:api:charts")).body["messages"]

    assert (answer["reply"], made["name"], made["size"]) == ("see", "chart.csv", 3)
    assert task["files"] == [made]
    (told,) = [event["data"] for event in events if event["data"]["kind"] == "file"]
    assert {key: told[key] for key in ("id", "name")} == {"id": made["id"], "name": "chart.csv"}
    assert [message["files"] for message in messages] == [[], [made]]
    async with moongate.client.get(f"/api/files/{made['id']}") as download:
        assert await download.read() == b"a,b"


async def test_a_file_of_a_kept_run_can_be_downloaded_after_its_session_was_deleted(moongate: Serving) -> None:
    answer = await send(moongate, "/api/agent", [GIVEN])
    (file,) = (await run_of(moongate, "/api/agent", answer))["attachments"]
    assert (await ask(moongate, "DELETE", "/api/sessions/main:api:default")).status == 200

    async with moongate.client.get(f"/api/files/{file['id']}") as download:
        assert await download.read() == CONTENT
    shown = (await ask(moongate, "GET", f"/api/files/{file['id']}/info")).body["file"]
    assert shown["uses"] == 1


async def test_a_token_that_may_only_read_sends_no_files(moongate: Serving) -> None:
    reader = await token(moongate, "reader", "read")
    for door in DOORS:
        assert (await send(moongate, door, [GIVEN], token=reader)).status == 403
    assert on_disk(moongate) == []


@pytest.mark.parametrize("door", ["/api/agent", "/api/tasks"])
async def test_an_agent_is_told_where_to_put_files_if_its_caller_wants_some(tmp_path: Path, door: str) -> None:
    cat = {"id": "main", "backend": "command", "command": ["cat"]}
    async with serving(tmp_path / "home", {"agents": {"list": [cat]}}) as served:
        wants = await ask(served, "POST", door, {**DOORS[door][0]("Draw"), "wants_files": True})
        told = (await run_of(served, door, wants))["result"]
        plain = (await run_of(served, door, await ask(served, "POST", door, DOORS[door][0]("Draw"))))["result"]

    assert plain == "Draw"
    assert told.startswith("Draw\n\n(Files that you write into ")


async def test_a_body_that_could_never_be_in_memory_is_too_large_whatever_the_settings_say(tmp_path: Path) -> None:
    async with serving(
        tmp_path / "home", {"files": {"message_size": 2 << 30}, "limits": {"body_seconds": 1.0}}
    ) as served:
        asked = head("POST /api/agent", "Content-Type: application/json", f"Content-Length: {1 << 30}")
        answer = read(await raw(served, asked + b"{"))

    assert (answer.status, answer.body["error"]["code"]) == (413, "TOO_LARGE")
