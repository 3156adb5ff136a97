"""`/api/tokens`: named tokens."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.api import routing
from gateway.api.routing import Call
from gateway.domain.token import Scope
from gateway.engine.resources.principal import Principal
from gateway.errors import Unauthorized
from harness.waiting import PATIENCE, until
from tests.api.client import ask, running, stream, submit, token
from tests.support.files_below import read_files
from tests.support.inprocess import Serving, serving


async def test_a_token_is_made_and_its_secret_shown_once(moongate: Serving) -> None:
    made = await ask(moongate, "POST", "/api/tokens", {"name": "ci", "scope": "read", "days": 1.5})
    listed = await ask(moongate, "GET", "/api/tokens")

    assert (made.status, made.body["name"], made.body["scope"]) == (201, "ci", "read")
    (row,) = listed.body["tokens"]
    assert (row["name"], row["scope"]) == ("ci", "read")
    assert row["expires_at"] > row["created_at"]
    assert made.body["token"] not in str(listed.body)


async def test_a_token_without_days_never_ends(moongate: Serving) -> None:
    await token(moongate, "ci", "admin")

    assert (await ask(moongate, "GET", "/api/tokens")).body["tokens"][0]["expires_at"] is None


async def test_a_token_works_until_it_ends(tmp_path: Path) -> None:
    moment = [1_900_000_000_000]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        secret = await token(served, "ci", "read", days=1)
        moment[0] += 86_400_000 - 1
        before = await ask(served, "GET", "/api/tasks", token=secret)
        moment[0] += 1
        after = await ask(served, "GET", "/api/tasks", token=secret)

    assert (before.status, after.status, after.code) == (200, 401, "UNAUTHORIZED")


async def test_a_token_outlives_a_restart_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    async with serving(tmp_path / "home") as served:
        secret = await token(served, "ci", "read")
    async with serving(tmp_path / "home") as served:
        answer = await ask(served, "GET", "/api/tasks", token=secret)
    kept = b"".join(read_files(tmp_path / "home"))

    assert answer.status == 200
    assert secret.encode() not in kept


async def test_a_revoked_token_is_a_wrong_one(moongate: Serving) -> None:
    secret = await token(moongate, "ci", "admin")
    revoked = await ask(moongate, "DELETE", "/api/tokens/ci", token=secret)
    answer = await ask(moongate, "GET", "/api/tasks", token=secret)
    again = await ask(moongate, "DELETE", "/api/tokens/ci")

    assert (revoked.status, revoked.body) == (200, {"status": "ok"})
    assert answer.status == 401
    assert (again.status, again.code) == (404, "NOT_FOUND")


WAITING: dict[str, dict[str, Any]] = {
    "/api/agent": {"message": "@@ hang", "session": "a"},
    "/api/message/sync": {"channel": "webchat", "chat_id": "b", "content": "@@ hang"},
    "/hooks/agent": {"message": "@@ hang", "sessionKey": "c", "waitForCompletion": True},
    "/v1/chat/completions": {"model": "main", "messages": [{"role": "user", "content": "@@ hang"}]},
    "/v1/responses": {"model": "main", "input": "@@ hang"},
    "/v1/run": {"input": "@@ hang", "sessionId": "d"},
    "/mcp": {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "send_message", "arguments": {"message": "@@ hang", "session": "e", "wait": 40}},
    },
}
STREAMED: dict[str, dict[str, Any]] = {
    "/api/agent": {"message": "@@ hang", "session": "f"},
    "/v1/stream": {"input": "@@ hang", "sessionId": "g"},
    "/v1/chat/completions": {**WAITING["/v1/chat/completions"], "stream": True},
    "/v1/responses": {"model": "main", "input": "@@ hang", "stream": True},
}
TOKEN_ENDED = "the token was revoked or has expired while this request waited; what it submitted goes on."


async def open_work(served: Serving) -> set[str]:
    tasks = (await ask(served, "GET", "/api/tasks?status=queued,running")).body["tasks"]
    return {task["id"] for task in tasks}


async def test_whoever_waits_with_a_token_is_told_that_it_was_revoked(moongate: Serving) -> None:
    secret = await token(moongate, "ci", "write")
    waiting = {
        path: asyncio.create_task(ask(moongate, "POST", path, body, token=secret)) for path, body in WAITING.items()
    }
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(stream(moongate, path, method="POST", body=body, token=secret))
            for path, body in STREAMED.items()
        ]
        async with asyncio.timeout(PATIENCE):
            while len(work := await open_work(moongate)) < len(WAITING) + len(STREAMED):
                await asyncio.sleep(0.01)
        await ask(moongate, "DELETE", "/api/tokens/ci")
        async with asyncio.timeout(PATIENCE):
            answers = {path: await answer for path, answer in waiting.items()}
        last = [(await one.rest())[-1] for one in streams]

    assert {path for path, answer in answers.items() if TOKEN_ENDED not in str(answer.body)} == set()
    assert [frame.data for frame in last if TOKEN_ENDED not in str(frame.data)] == []
    # 424 as for each run that fails; the error of a tool of MCP is in the result
    others = {"/v1/chat/completions": 424, "/v1/responses": 424, "/mcp": 200}
    assert {path: answer.status for path, answer in answers.items()} == {
        path: others.get(path, 401) for path in WAITING
    }
    assert answers["/api/agent"].code == "UNAUTHORIZED"
    assert answers["/api/agent"].body["error"]["details"]["run_id"] in work
    assert await open_work(moongate) == work


async def test_what_a_tool_follows_ends_with_the_token(moongate: Serving) -> None:
    secret = await token(moongate, "ci", "write")
    task = await submit(moongate, "@@ hang")
    await running(moongate, task["id"])
    seen = len(await moongate.engine.runs.read_events(task["id"], 0, 100))
    follow = {"name": "follow_task", "arguments": {"task_id": task["id"], "after": seen, "wait": 40}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": follow}
    answer = asyncio.create_task(ask(moongate, "POST", "/mcp", body, token=secret))
    await until(lambda: moongate.engine._hub._runs, "it is followed")
    await ask(moongate, "DELETE", "/api/tokens/ci")

    async with asyncio.timeout(PATIENCE):
        assert TOKEN_ENDED in str((await answer).body)


async def test_whoever_waits_longer_than_the_token_lasts_is_told() -> None:
    given: Any = SimpleNamespace(clock=lambda: 990)
    principal = Principal("ci", Scope.READ, expires=1000)
    call: Call[Any, Any] = Call(
        given, given, given, id="1", principal=principal, classify_caller=given, body=None, query=None
    )
    with pytest.raises(Unauthorized) as ended:
        async with asyncio.timeout(PATIENCE), call.while_token_lasts("01"):
            await asyncio.Event().wait()

    assert (str(ended.value), ended.value.details) == (TOKEN_ENDED, {"run_id": "01"})


def test_every_route_waits_no_longer_than_the_token_lasts() -> None:
    api = Path(routing.__file__).parent
    sources = {path.name for path in api.rglob("*.py") if "engine.runs.wait_for_run(" in path.read_text()}

    assert sources == {"routing.py"}


async def test_a_name_is_taken_once(moongate: Serving) -> None:
    await token(moongate, "ci", "read")
    answer = await ask(moongate, "POST", "/api/tokens", {"name": "ci"})

    assert (answer.status, answer.code) == (409, "CONFLICT")


async def test_the_owner_s_name_cannot_be_taken(moongate: Serving) -> None:
    """Idempotency keys are kept by their token's name."""
    answer = await ask(moongate, "POST", "/api/tokens", {"name": "owner"})

    assert (answer.status, answer.code) == (409, "CONFLICT")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a b"},
        {"name": "../x"},
        {"name": "a\n"},
        {"name": "x" * 65},
        {"name": "a", "scope": "root"},
        {"name": "a", "days": 0},
        {"name": "a", "days": -1},
        {"name": "a", "days": 1e9},
        {"name": "a", "days": "1"},
    ],
)
async def test_what_cannot_be_a_token(moongate: Serving, body: dict[str, object]) -> None:
    answer = await ask(moongate, "POST", "/api/tokens", body)

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert (await ask(moongate, "GET", "/api/tokens")).body["tokens"] == []
