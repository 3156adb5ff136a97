"""The document of xitto-kernel 0.3.3, line by line: its four calls, its formats, its five behaviours.

The calls are verbatim, except for the base URL, the token, the webhook's host and the ids.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.api.compat import xitto
from gateway.domain.queue import BackgroundCounts
from gateway.engine.resources.run_lists import RunLists
from harness.live_gateway import Live
from harness.waiting import PATIENCE, until
from harness.webhook_receiver import Receiver, serve_receiver
from tests.api.client import Answer, ask, stream
from tests.support.inprocess import Serving, serving
from tests.support.store_kinds import StoreKind

pytestmark = pytest.mark.both_stores

DOCUMENTED = "localhost:8787"
SEND = """
curl -s -XPOST localhost:8787/v1/tasks -H "Authorization: Bearer secret" \\
  -H content-type:application/json \\
  -d '{"pack":"general","mode":"goal","goal":"...","webhook":"https://你的服务/done"}'
"""
LIST = """curl -s localhost:8787/v1/tasks -H "Authorization: Bearer secret" """
SHOW = """curl -s localhost:8787/v1/tasks/<id> -H "Authorization: Bearer secret" """
EVENTS = """curl -sN localhost:8787/v1/tasks/<id>/events -H "Authorization: Bearer secret" """

VIEW = "taskId status pack mode sessionId createdAt startedAt finishedAt error".split()


async def curl(command: str, base: str, **words: str) -> str:
    for old, new in {DOCUMENTED: base, **words}.items():
        command = command.replace(old, new)
    process = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    return out.decode()


def said(text: str) -> list[dict[str, Any]]:
    """Return the data of a stream, read as the document's client reads it: the lines `data: {...}`."""
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


async def test_the_calls_of_the_document_work_across_a_crash(live: Callable[..., Live]) -> None:
    """Only the base URL differs; token and concurrency come from xitto's own environment variables."""
    environment = {"XITTO_SERVER_TOKEN": "secret", "XITTO_SERVER_CONCURRENCY": "1", "XITTO_MODEL": "m/1"}
    async with serve_receiver() as receiver:
        gateway = live(config={"webhooks": {"allow_private": ["127.0.0.1"]}}, env=environment).start()
        base, words = f"127.0.0.1:{gateway.port}", {"https://你的服务/done": receiver.url}

        sent = json.loads(await curl(SEND, base, **words))
        identifier = {"<id>": sent["taskId"]}
        assert set(sent) == {"taskId", "status", "active", "queued", "total"}
        assert sent["status"] in ("queued", "running")

        replay = said(await curl(EVENTS, base, **identifier))
        assert replay[0] == {"type": "status", "status": "running"}
        assert (replay[-1]["type"], replay[-1]["status"], replay[-1]["error"]) == ("end", "done", None)

        shown = json.loads(await curl(SHOW, base, **identifier))
        assert (shown["status"], shown["pack"], shown["mode"]) == ("done", "general", "goal")
        assert set(shown) == {*VIEW, "result"}
        assert shown["result"] == replay[-1]["result"]
        assert (shown["result"]["rounds"], shown["result"]["done"]) == (10, False)

        await until(lambda: receiver.requests, "the webhook has come")
        (request,) = receiver.requests
        wanted = {"taskId", "status", "error", "sessionId", "text", "usage", "rounds", "done", "finishedAt"}
        assert set(request.json) == wanted
        assert (request.json["taskId"], request.json["status"]) == (sent["taskId"], "done")

        gateway.kill()
        gateway.start()
        base = f"127.0.0.1:{gateway.port}"
        listed = json.loads(await curl(LIST, base))
        assert (listed["active"], listed["queued"], listed["total"]) == (0, 0, 1)
        assert [set(task) for task in listed["tasks"]] == [set(VIEW)]
        assert json.loads(await curl(SHOW, base, **identifier)) == shown
        assert said(await curl(EVENTS, base, **identifier)) == replay


# --- in one loop ------------------------------------------------------------------------------


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with serve_receiver() as up:
        yield up


@pytest.fixture
async def moongate(tmp_path: Path, store_kind: StoreKind) -> AsyncIterator[Serving]:
    agents = [
        {"id": "main", "backend": "echo", "script": True, "max_concurrent": 8},
        {"id": "other", "backend": "echo"},
    ]
    settings = {"webhooks": {"allow_private": ["127.0.0.1"]}, "agents": {"list": agents}}
    home = tmp_path / "home"
    async with serving(home, settings, store=store_kind.find_live(home)) as served:
        yield served


async def add(moongate: Serving, text: str, **more: Any) -> dict[str, Any]:
    answer = await ask(moongate, "POST", "/v1/tasks", {"input": text, **more})
    assert answer.status == 202, answer.body
    return dict(answer.body)


async def events(moongate: Serving, task: str) -> list[dict[str, Any]]:
    async with stream(moongate, f"/v1/tasks/{task}/events") as sse:
        return [frame.data for frame in await sse.rest()]


async def shown(moongate: Serving, task: str) -> dict[str, Any]:
    return dict((await ask(moongate, "GET", f"/v1/tasks/{task}")).body)


async def started(moongate: Serving, task: str) -> None:
    async with stream(moongate, f"/v1/tasks/{task}/events") as sse:
        assert (await sse.next()).data == {"type": "status", "status": "running"}


async def test_health_shows_packs_model_and_tasks(moongate: Serving) -> None:
    await add(moongate, "@@ hang")

    answer = await ask(moongate, "GET", "/health", Authorization="")

    assert (answer.body["ok"], answer.body["packs"], answer.body["model"]) == (
        True,
        ["general", "main", "other"],
        "echo",
    )
    assert set(answer.body["tasks"]) == {"active", "queued", "total"}
    assert answer.body["tasks"]["total"] == 1


async def test_states_go_from_queued_through_running_to_done(moongate: Serving) -> None:
    first, second = await add(moongate, "@@ hang"), await add(moongate, "@@ hang")
    await started(moongate, first["taskId"])
    await started(moongate, second["taskId"])
    third = await add(moongate, "hi", sessionId="s-1", pack="other")

    waiting = await shown(moongate, third["taskId"])
    assert (waiting["status"], waiting["startedAt"], waiting["result"]) == ("queued", None, None)
    assert (waiting["sessionId"], waiting["pack"], waiting["mode"]) == ("s-1", "other", "turn")
    await ask(moongate, "POST", f"/api/tasks/{first['taskId']}/cancel")
    told = await events(moongate, third["taskId"])
    ended = await shown(moongate, third["taskId"])

    assert [line["type"] for line in told] == ["status", "text", "end"]
    assert ended["status"] == "done"
    assert ended["result"] == {
        "sessionId": "s-1", "text": "echo: hi", "usage": {"input": 1, "output": 2}, "rounds": None, "done": None,
    }  # fmt: skip
    assert ended["createdAt"] <= ended["startedAt"] <= ended["finishedAt"]
    assert (await shown(moongate, first["taskId"]))["status"] == "error"


async def test_a_task_is_running_in_the_answer_where_there_is_room(moongate: Serving) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xitto, "START_TIMEOUT_SECONDS", PATIENCE)
        told = [await add(moongate, "@@ hang"), await add(moongate, "@@ hang")]
    told.append(await add(moongate, "@@ hang"))

    assert [(one["status"], one["active"], one["queued"]) for one in told] == [
        ("running", 1, 0), ("running", 2, 0), ("queued", 2, 1),
    ]  # fmt: skip


async def test_a_task_that_took_the_last_place_before_the_count_is_running_in_the_answer(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = RunLists.count_background_runs

    async def count_late(lists: RunLists) -> BackgroundCounts:
        async with asyncio.timeout(PATIENCE):
            while (found := await count(lists)).queued:
                await asyncio.sleep(0.01)
        return found

    monkeypatch.setattr(RunLists, "count_background_runs", count_late)
    told = [await add(moongate, "@@ hang"), await add(moongate, "@@ hang")]

    assert [(one["status"], one["active"]) for one in told] == [("running", 1), ("running", 2)]


async def test_a_task_that_waits_for_its_session_is_queued_in_the_answer(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xitto, "START_TIMEOUT_SECONDS", 0.05)
    await add(moongate, "@@ hang", sessionId="s-1")

    assert (await add(moongate, "hi", sessionId="s-1"))["status"] == "queued"


async def test_a_task_whose_agent_fails_has_the_agents_error(moongate: Serving) -> None:
    task = await add(moongate, "@@ fail no credit")

    told = await events(moongate, task["taskId"])

    assert told[-1] == {"type": "end", "status": "error", "result": None, "error": "no credit"}
    assert ((await shown(moongate, task["taskId"]))["error"]) == "no credit"


async def test_tasks_of_all_packs_have_one_limit_and_runs_do_not_wait_behind_them(moongate: Serving) -> None:
    for _ in range(2):
        await started(moongate, (await add(moongate, "@@ hang"))["taskId"])
    more = [await add(moongate, "x", pack=pack) for pack in ("general", "main", "other")]

    assert (more[-1]["active"], more[-1]["queued"], more[-1]["total"]) == (2, 3, 5)
    answer = await ask(moongate, "POST", "/v1/run", {"input": "hello"})
    assert (answer.status, answer.body["text"]) == (200, "echo: hello")
    assert (await shown(moongate, more[0]["taskId"]))["status"] == "queued"


async def test_past_events_are_replayed_before_live_ones(moongate: Serving, pace: asyncio.Semaphore) -> None:
    task = (await add(moongate, "@@ say first\n@@ sleep 1\n@@ say second"))["taskId"]
    async with stream(moongate, f"/v1/tasks/{task}/events") as sse:
        assert [(await sse.next()).data["type"] for _ in range(2)] == ["status", "text"]
        async with stream(moongate, f"/v1/tasks/{task}/events") as late:  # attached while the task is running
            pace.release()
            replayed = [frame.data for frame in await late.rest()]
        live = [frame.data for frame in await sse.rest()]

    assert [line.get("delta") for line in replayed] == [None, "first", "second", None]
    assert live == replayed[2:]
    assert await events(moongate, task) == replayed


async def test_a_subscriber_that_reconnects_gets_the_events_since(moongate: Serving) -> None:
    task = (await add(moongate, "hi"))["taskId"]
    async with stream(moongate, f"/v1/tasks/{task}/events") as sse:
        frames = await sse.rest()

    async with stream(moongate, f"/v1/tasks/{task}/events", Last_Event_ID=frames[0].id) as sse:
        assert await sse.rest() == frames[1:]


@pytest.mark.parametrize(
    ("text", "told"),
    [("hi", {"status": "done", "text": "echo: hi", "error": None}), ("@@ fail x", {"status": "error", "error": "x"})],
)
async def test_the_end_of_a_task_calls_back(
    text: str, told: dict[str, str], moongate: Serving, receiver: Receiver
) -> None:
    task = await add(moongate, text, webhook=receiver.url)

    await until(lambda: receiver.requests, "the webhook has come")

    body = receiver.requests[0].json
    assert body["taskId"] == task["taskId"]
    assert {name: body[name] for name in told} == told
    assert body["finishedAt"] == (await shown(moongate, task["taskId"]))["finishedAt"]


async def test_a_goal_is_prompted_round_by_round(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/v1/run", {"mode": "goal", "goal": "@@ goal 3", "input": "not this"})

    assert answer.body == {
        "sessionId": answer.body["sessionId"],
        "text": "turn 3\nGOAL_COMPLETE",
        "usage": {"input": answer.body["usage"]["input"], "output": answer.body["usage"]["output"]},
        "rounds": 3,
        "done": True,
    }


async def test_a_goal_may_be_given_as_input(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/v1/run", {"mode": "goal", "input": "@@ goal 1"})

    assert (answer.body["rounds"], answer.body["done"]) == (1, True)


async def test_a_session_continues_over_a_restart(tmp_path: Path, store_kind: StoreKind) -> None:
    store = store_kind.find_live(tmp_path / "home")
    async with serving(tmp_path / "home", store=store) as moongate:
        first = await ask(moongate, "POST", "/v1/run", {"input": "hello"})
    async with serving(tmp_path / "home", store=store) as moongate:
        session = first.body["sessionId"]
        again = await ask(moongate, "POST", "/v1/run", {"input": "@@ history", "sessionId": session})

    assert (again.body["text"], again.body["sessionId"]) == ("2 messages", session)


async def streamed(moongate: Serving, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with stream(moongate, "/v1/stream", method="POST", body=body) as sse:
        return [frame.data for frame in await sse.rest()]


async def test_a_stream_ends_with_the_result(moongate: Serving) -> None:
    told = await streamed(moongate, {"input": "hi", "sessionId": "s"})

    assert told[0] == {"type": "text", "delta": "echo: hi"}
    assert told[-1] == {
        "type": "done", "sessionId": "s", "text": "echo: hi", "usage": {"input": 1, "output": 2}, "rounds": None,
        "done": None,
    }  # fmt: skip


async def test_a_stream_of_a_failing_task_ends_with_the_error(moongate: Serving) -> None:
    assert await streamed(moongate, {"input": "@@ fail no credit"}) == [{"type": "error", "error": "no credit"}]


async def test_a_stream_of_an_unknown_pack_is_an_error_inside_it(moongate: Serving) -> None:
    (told,) = await streamed(moongate, {"input": "x", "pack": "nope"})

    assert (told["type"], "nope" in told["error"], "general" in told["error"]) == ("error", True, True)


async def refused(moongate: Serving, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
    answer = await ask(moongate, method, path, body, **more)
    return complaint(answer)


def complaint(answer: Answer) -> tuple[int, str]:
    assert set(answer.body) == {"error"}, answer.body
    assert isinstance(answer.body["error"], str)
    return answer.status, answer.body["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "why"),
    [
        (
            "POST",
            "/v1/run",
            {"input": "x", "pack": "nope"},
            400,
            "unknown pack 'nope'; there are: general, main, other",
        ),
        ("POST", "/v1/tasks", {"input": "x", "pack": "nope"}, 400, "unknown pack"),
        ("POST", "/v1/tasks", {"input": "x", "webhook": "ftp://x/"}, 400, "http"),
        ("POST", "/v1/tasks", {"input": "x", "webhook": "not a url"}, 400, "webhook: the URL"),
        ("POST", "/v1/tasks", {"input": "x", "webhook": "http://10.0.0.1/"}, 400, "10.0.0.1"),
        ("POST", "/v1/tasks", {}, 400, "input"),
        ("POST", "/v1/run", {"mode": "goal"}, 400, "goal"),
        ("POST", "/v1/run", {"input": 7}, 400, "input"),
        ("POST", "/v1/run", {"input": "x", "sessionId": "a\nb"}, 400, "sessionId"),
        ("POST", "/v1/run", {"input": "@@ fail no credit"}, 500, "no credit"),
        ("POST", "/v1/run", {"input": "x" * 1_000_001}, 413, "1000000 bytes"),
        ("GET", "/v1/tasks/nope", None, 404, "task not found"),
        ("GET", "/v1/tasks/nope/events", None, 404, "task not found"),
        ("GET", "/v1/tasks/nope/nothing", None, 404, "nothing at this path"),
        ("DELETE", "/v1/tasks", None, 405, "takes"),
    ],
)
async def test_an_error_has_xittos_format(
    method: str, path: str, body: Any, status: int, why: str, moongate: Serving
) -> None:
    found, told = await refused(moongate, method, path, body)

    assert (found, why in told) == (status, True), told


async def test_a_wrong_token_is_refused_in_xittos_format(moongate: Serving) -> None:
    assert (await refused(moongate, "GET", "/v1/tasks", token="wrong"))[0] == 401


async def test_a_task_made_by_another_api_is_not_visible_to_xitto(moongate: Serving) -> None:
    native = (await ask(moongate, "POST", "/api/tasks", {"input": "x", "labels": {"xitto": "general"}})).body["task"]

    assert await refused(moongate, "GET", f"/v1/tasks/{native['id']}") == (404, "task not found")
    assert (await ask(moongate, "GET", "/v1/tasks")).body == {"tasks": [], "active": 0, "queued": 0, "total": 0}


async def test_unknown_fields_and_parameters_are_ignored(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/v1/run?v=1", {"input": "x", "temperature": 1})

    assert (answer.status, answer.body["text"]) == (200, "echo: x")


async def test_tasks_are_listed_oldest_first(moongate: Serving) -> None:
    added = [(await add(moongate, text))["taskId"] for text in "abc"]

    assert [task["taskId"] for task in (await ask(moongate, "GET", "/v1/tasks")).body["tasks"]] == added
