"""XCClaw's document, line by line: each endpoint as it is printed, with a crash in between."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.live_gateway import Live
from harness.waiting import PATIENCE
from tests.api.client import ask, token
from tests.support.inprocess import Serving, serving
from tests.support.store_kinds import SqliteKind, StoreKind

pytestmark = pytest.mark.both_stores

BASE = "/api/xcclaw"
TASK = set("id type prompt status session_id result error created_at started_at finished_at".split())
FINAL = ("completed", "failed", "aborted")

#: the document's bodies, without its comments
NEW_TASK = """
{
  "type": "ephemeral",  # ephemeral | persistent | scheduled
  "prompt": "你的任务描述"
}
"""

NEW_SCHEDULE = """
{
  "id": "unique-id",
  "name": "任务名称",
  "cron": "0 9 * * *",  # Cron 表达式
  "prompt": "定时执行的提示词",
  "enabled": true
}
"""


def printed(text: str) -> Any:
    return json.loads(re.sub(r"#.*", "", text))


async def do(moongate: Serving, call: str, body: Any = None) -> Any:
    """Make a call as the document prints it, and return the body of the answer."""
    method, path = call.split(" ", 1)
    answer = await ask(moongate, method, path, body)
    assert answer.status < 300, answer.body
    return answer.body


def test_the_state_that_the_document_shows_survives_a_crash(
    live: Callable[..., Live], tmp_path: Path, store_kind: StoreKind
) -> None:
    """Health, task, history, sessions: on a gateway that XCClaw's own environment variables configure."""
    port = "0"
    gateway = live(
        env={"XCCLAW_APP_HOST": "127.0.0.1", "XCCLAW_APP_PORT": port, "XCCLAW_DATA_DIR": str(tmp_path / "d")}
    )
    call = gateway.start().call
    assert (tmp_path / "d" / "gateway.lock").exists()
    assert (tmp_path / "d" / "moongate.db").exists() == (store_kind.name == SqliteKind.name)

    assert call("GET", f"{BASE}/health").body == {"status": "ok", "opencode": {"status": "unavailable"}}
    created = call("POST", f"{BASE}/task", printed(NEW_TASK))
    assert (created.status, set(created.body), created.body["status"]) == (201, TASK, "pending")
    task = created.body["id"]
    executed = call("POST", f"{BASE}/task/{task}/execute").body
    assert (executed["status"], executed["result"]) == ("completed", "echo: 你的任务描述")
    waiting = call("POST", f"{BASE}/task", printed(NEW_TASK)).body
    schedule = call("POST", f"{BASE}/schedule", printed(NEW_SCHEDULE)).body
    assert {name: schedule[name] for name in printed(NEW_SCHEDULE)} == printed(NEW_SCHEDULE)
    session = call("POST", f"{BASE}/persistent?name=%E6%88%91%E7%9A%84%E4%BC%9A%E8%AF%9D").body
    assert session["name"] == "我的会话"
    text = "%E4%BD%A0%E7%9A%84%E6%B6%88%E6%81%AF"
    told = call("POST", f"{BASE}/persistent/{session['id']}/message?text={text}").body
    assert told == {"session_id": session["id"], "reply": "echo: 你的消息"}

    gateway.kill()
    gateway.start()

    assert call("GET", f"{BASE}/task/{task}").body == executed
    assert [one["id"] for one in call("GET", f"{BASE}/task").body][:2] == [task, waiting["id"]]
    assert [one["type"] for one in call("GET", f"{BASE}/history?limit=10").body] == ["persistent", "ephemeral"]
    assert call("GET", f"{BASE}/persistent").body == [session]
    assert call("GET", f"{BASE}/schedule").body == [schedule]
    assert call("DELETE", f"{BASE}/schedule/unique-id").status == 200
    assert call("GET", f"{BASE}/schedule").body == []
    again = call("POST", f"{BASE}/persistent/{session['id']}/message", {"text": "@@ history"}).body
    assert again["reply"] == "2 messages"
    assert call("POST", f"{BASE}/task/{waiting['id']}/execute").body["status"] == "completed"


# --- tasks ------------------------------------------------------------------------------------


async def created(moongate: Serving, prompt: str = "hi", **more: Any) -> dict[str, Any]:
    return dict(await do(moongate, f"POST {BASE}/task", {"type": "ephemeral", "prompt": prompt, **more}))


async def status_of(moongate: Serving, task: str) -> str:
    return str((await do(moongate, f"GET {BASE}/task/{task}"))["status"])


async def until_status(moongate: Serving, task: str, *wanted: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await status_of(moongate, task) not in wanted:
            await asyncio.sleep(0.01)


async def refused(moongate: Serving, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
    answer = await ask(moongate, method, path, body, **more)
    assert set(answer.body) == {"detail"}, answer.body
    assert isinstance(answer.body["detail"], str)
    return answer.status, answer.body["detail"]


async def test_a_task_does_not_run_before_it_is_executed(moongate: Serving) -> None:
    task = await created(moongate)
    other = await created(moongate)
    await do(moongate, f"POST {BASE}/task/{other['id']}/execute")

    assert (await do(moongate, f"GET {BASE}/task/{task['id']}")) == task
    assert (task["status"], task["started_at"], task["finished_at"], task["result"]) == ("pending", None, None, None)


async def test_execute_waits_for_the_end(moongate: Serving) -> None:
    task = await created(moongate)

    ended = await do(moongate, f"POST {BASE}/task/{task['id']}/execute")

    assert (ended["status"], ended["result"], ended["error"]) == ("completed", "echo: hi", None)
    assert ended["created_at"] <= ended["started_at"] <= ended["finished_at"]


async def test_execute_reports_a_failure(moongate: Serving) -> None:
    task = await created(moongate, "@@ fail no credit")

    ended = await do(moongate, f"POST {BASE}/task/{task['id']}/execute")

    assert (ended["status"], ended["result"], ended["error"]) == ("failed", None, "no credit")


async def test_execute_async_does_not_wait(moongate: Serving) -> None:
    task = await created(moongate, "@@ hang")

    answer = await ask(moongate, "POST", f"{BASE}/task/{task['id']}/execute_async")

    assert (answer.status, answer.body["status"]) == (202, "pending")
    await until_status(moongate, task["id"], "running")


async def test_a_running_or_finished_task_is_not_executed_again(moongate: Serving) -> None:
    running, finished = await created(moongate, "@@ hang"), await created(moongate)
    await do(moongate, f"POST {BASE}/task/{running['id']}/execute_async")
    await until_status(moongate, running["id"], "running")
    await do(moongate, f"POST {BASE}/task/{finished['id']}/execute")

    for task, status in ((running, "running"), (finished, "completed")):
        for how in ("execute", "execute_async"):
            found = await refused(moongate, "POST", f"{BASE}/task/{task['id']}/{how}")
            assert found == (409, f"the task was executed already: it is {status}.")


async def test_the_same_key_executes_once_and_can_wait_again(moongate: Serving) -> None:
    task = await created(moongate)
    path = f"{BASE}/task/{task['id']}/execute"

    first, second = [await ask(moongate, "POST", path, Idempotency_Key="k") for _ in range(2)]

    assert (first.status, second.status, first.body) == (200, 200, second.body)


async def test_a_pending_and_a_running_task_are_aborted(moongate: Serving) -> None:
    pending, running = await created(moongate), await created(moongate, "@@ hang")
    await do(moongate, f"POST {BASE}/task/{running['id']}/execute_async")
    await until_status(moongate, running["id"], "running")

    for task in (pending, running):
        assert (await do(moongate, f"POST {BASE}/task/{task['id']}/abort"))["status"] == "aborted"
    assert (await refused(moongate, "POST", f"{BASE}/task/{running['id']}/abort"))[0] == 409


async def test_an_ephemeral_session_is_deleted_with_its_task(moongate: Serving) -> None:
    task = await created(moongate)
    sessions = "GET /api/sessions"
    assert len((await do(moongate, sessions))["sessions"]) == 1

    await do(moongate, f"POST {BASE}/task/{task['id']}/execute")

    assert (await do(moongate, sessions))["sessions"] == []


async def test_a_persistent_task_keeps_its_session(moongate: Serving) -> None:
    session = (await do(moongate, f"POST {BASE}/persistent?name=x"))["id"]
    for prompt in ("hi", "@@ history"):
        task = await created(moongate, prompt, type="persistent", session_id=session)
        assert task["session_id"] == session
        ended = await do(moongate, f"POST {BASE}/task/{task['id']}/execute")

    assert ended["result"] == "2 messages"


async def test_scheduled_tasks_share_a_session(moongate: Serving) -> None:
    for prompt in ("hi", "@@ history"):
        task = await created(moongate, prompt, type="scheduled")
        ended = await do(moongate, f"POST {BASE}/task/{task['id']}/execute")

    assert (ended["session_id"], ended["result"]) == ("scheduled", "2 messages")


async def test_all_tasks_are_listed_oldest_first(moongate: Serving) -> None:
    tasks = [await created(moongate, str(number)) for number in range(3)]
    await do(moongate, "POST /api/tasks", {"input": "of another client"})

    assert await do(moongate, f"GET {BASE}/task") == tasks


# --- history ----------------------------------------------------------------------------------


async def test_the_history_starts_with_the_task_that_ended_last(moongate: Serving) -> None:
    tasks = [await created(moongate, str(number)) for number in range(3)]
    for task in (tasks[2], tasks[0]):
        await do(moongate, f"POST {BASE}/task/{task['id']}/execute")

    history = await do(moongate, f"GET {BASE}/history?limit=10")

    assert [task["id"] for task in history] == [tasks[0]["id"], tasks[2]["id"]]
    assert [task["id"] for task in await do(moongate, f"GET {BASE}/history?limit=1")] == [tasks[0]["id"]]


async def test_a_cleared_history_stays_cleared_and_the_tasks_stay(tmp_path: Path, store_kind: StoreKind) -> None:
    store = store_kind.find_live(tmp_path / "home")
    async with serving(tmp_path / "home", store=store) as moongate:
        task = await created(moongate)
        await do(moongate, f"POST {BASE}/task/{task['id']}/execute")
        assert await do(moongate, f"DELETE {BASE}/history") == {"deleted": 1}
    async with serving(tmp_path / "home", store=store) as moongate:
        assert await do(moongate, f"GET {BASE}/history") == []
        assert len(await do(moongate, f"GET {BASE}/task")) == 1


# --- persistent sessions ----------------------------------------------------------------------


async def test_a_session_is_created_listed_and_deleted(moongate: Serving) -> None:
    first = await do(moongate, f"POST {BASE}/persistent?name=one")
    second = await do(moongate, f"POST {BASE}/persistent", {"name": "two"})
    assert set(first) == {"id", "name", "created_at"}
    assert await do(moongate, f"GET {BASE}/persistent") == [first, second]

    await do(moongate, f"DELETE {BASE}/persistent/{first['id']}")

    assert await do(moongate, f"GET {BASE}/persistent") == [second]
    assert (await refused(moongate, "POST", f"{BASE}/persistent/{first['id']}/message?text=x"))[0] == 404


async def test_deleting_a_session_aborts_its_running_task(moongate: Serving) -> None:
    session = (await do(moongate, f"POST {BASE}/persistent?name=one"))["id"]
    task = (await do(moongate, f"POST {BASE}/persistent/{session}/message_async?text=@@%20hang"))["task_id"]
    await until_status(moongate, task, "running")

    await do(moongate, f"DELETE {BASE}/persistent/{session}")

    await until_status(moongate, task, "aborted")


async def test_a_message_becomes_a_task_that_is_answered_later(moongate: Serving) -> None:
    session = (await do(moongate, f"POST {BASE}/persistent?name=one"))["id"]

    answer = await ask(moongate, "POST", f"{BASE}/persistent/{session}/message_async?text=hi")

    assert (answer.status, answer.body["session_id"]) == (202, session)
    await until_status(moongate, answer.body["task_id"], *FINAL)
    task = await do(moongate, f"GET {BASE}/task/{answer.body['task_id']}")
    assert (task["type"], task["result"], task["session_id"]) == ("persistent", "echo: hi", session)


# --- schedules --------------------------------------------------------------------------------


async def test_a_time_of_a_schedule_becomes_a_task_in_its_session(moongate: Serving) -> None:
    made = await do(moongate, f"POST {BASE}/schedule", printed(NEW_SCHEDULE))
    assert made["next_run"].endswith("T09:00:00.000Z")

    await moongate.engine.schedules.trigger_schedule("unique-id")

    (task,) = await do(moongate, f"GET {BASE}/task")
    await until_status(moongate, task["id"], "completed")
    assert (task["type"], task["session_id"], task["prompt"]) == ("scheduled", "unique-id", "定时执行的提示词")


async def test_a_schedule_made_by_another_api_is_not_visible_to_xcclaw(moongate: Serving) -> None:
    native = await do(moongate, "POST /api/cron/create", {"name": "n", "schedule": "0 9 * * *", "prompt": "p"})

    assert await do(moongate, f"GET {BASE}/schedule") == []
    assert (await refused(moongate, "DELETE", f"{BASE}/schedule/{native['job']['id']}"))[0] == 404


async def test_an_existing_id_cannot_be_used_again(moongate: Serving) -> None:
    await do(moongate, f"POST {BASE}/schedule", printed(NEW_SCHEDULE))

    assert (await refused(moongate, "POST", f"{BASE}/schedule", printed(NEW_SCHEDULE)))[0] == 409


# --- socket -----------------------------------------------------------------------------------


@asynccontextmanager
async def updates(moongate: Serving) -> AsyncIterator[Callable[[], Any]]:
    async with moongate.client.ws_connect(f"{BASE}/ws") as socket:

        async def next_() -> Any:
            return await socket.receive_json(timeout=PATIENCE)

        yield next_


async def test_every_change_of_a_task_is_pushed(moongate: Serving) -> None:
    async with updates(moongate) as next_:
        task = await created(moongate)
        await do(moongate, "POST /api/tasks", {"input": "of another client"})
        await do(moongate, f"POST {BASE}/task/{task['id']}/execute_async")
        told = [await next_() for _ in range(4)]

    assert [line["type"] for line in told] == ["task_update"] * 4
    assert [line["task"]["status"] for line in told] == ["pending", "pending", "running", "completed"]
    assert {line["task"]["id"] for line in told} == {task["id"]}
    assert [line["task"]["result"] for line in told] == [None, None, None, "echo: hi"]
    assert all(set(line["task"]) == TASK for line in told)


async def test_the_websocket_also_opens_with_a_ticket(moongate: Serving) -> None:
    ticket = (await do(moongate, "POST /api/tickets"))["ticket"]
    async with (
        type(moongate.client)(f"http://127.0.0.1:{moongate.port}") as stranger,
        stranger.ws_connect(f"{BASE}/ws?ticket={ticket}") as socket,
    ):
        task = await created(moongate)
        assert (await socket.receive_json(timeout=PATIENCE))["task"]["id"] == task["id"]


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "why"),
    [
        ("POST", "/task", {"type": "ephemeral"}, 400, "prompt"),
        ("POST", "/task", {"prompt": ""}, 400, "prompt"),
        ("POST", "/task", {"prompt": "x", "type": "odd"}, 400, "type"),
        ("POST", "/task", {"prompt": "x", "type": "persistent", "session_id": "nope"}, 404, "no session 'nope'"),
        ("POST", "/task", {"prompt": "x" * 1_000_001}, 413, "1000000 bytes"),
        ("GET", "/task/nope", None, 404, "no task 'nope'"),
        ("POST", "/task/nope/execute", None, 404, "no task 'nope'"),
        ("POST", "/task/nope/abort", None, 404, "no task 'nope'"),
        ("GET", "/history?limit=0", None, 400, "limit"),
        ("GET", "/history?limit=many", None, 400, "limit"),
        ("POST", "/persistent", None, 400, "name"),
        ("POST", "/persistent/nope/message", {}, 400, "text"),
        ("POST", "/persistent/nope/message?text=x", None, 404, "no session 'nope'"),
        ("DELETE", "/persistent/nope", None, 404, "no session 'nope'"),
        ("POST", "/schedule", {"id": "a", "name": "n", "cron": "every now", "prompt": "x"}, 400, "cron:"),
        ("POST", "/schedule", {"id": "a", "name": "n", "cron": "0 9 * * *"}, 400, "prompt"),
        ("POST", "/schedule", {"id": "a b", "cron": "0 9 * * *", "prompt": "x"}, 400, "id"),
        ("DELETE", "/schedule/nope", None, 404, "schedule"),
        ("GET", "/nothing", None, 404, "nothing at this path"),
        ("PUT", "/task", None, 405, "takes"),
        ("GET", "/ws", None, 400, "WebSocket"),
    ],
)
async def test_an_error_has_xcclaws_format(
    method: str, path: str, body: Any, status: int, why: str, moongate: Serving
) -> None:
    found, told = await refused(moongate, method, BASE + path, body)

    assert (found, why in told) == (status, True), told


async def test_a_read_only_token_is_refused_in_xcclaws_format(moongate: Serving) -> None:
    reader = await token(moongate, "reader", "read")

    assert (await refused(moongate, "POST", f"{BASE}/task", {"prompt": "x"}, token=reader))[0] == 403
    assert (await refused(moongate, "GET", f"{BASE}/task", token="wrong"))[0] == 401


async def test_a_failing_agent_in_a_conversation_is_a_502(moongate: Serving) -> None:
    session = (await do(moongate, f"POST {BASE}/persistent?name=one"))["id"]

    found = await refused(moongate, "POST", f"{BASE}/persistent/{session}/message", {"text": "@@ fail no credit"})

    assert found == (502, "no credit")


async def test_unknown_fields_and_parameters_are_ignored(moongate: Serving) -> None:
    await do(moongate, f"POST {BASE}/task?v=1", {"prompt": "x", "title": "mine"})
