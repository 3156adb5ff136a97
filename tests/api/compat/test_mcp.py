"""The MCP API, by the official SDK's client over HTTP, and by hand where no client would go."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult

from gateway.api.compat.mcp import protocol, tools
from gateway.api.compat.mcp.tools import MCP_TOOLS
from gateway.api.routing import Route, discover_routes
from gateway.domain.token import Scope
from harness.waiting import PATIENCE
from tests.api.client import ask, done, head, post, raw, read, running, stream, submit, token
from tests.support.inprocess import TOKEN, Serving, serving

#: with a handshake, and without one
VERSIONS = ["legacy", "2026-07-28"]


@asynccontextmanager
async def speaking(
    served: Serving, mode: str = "2026-07-28", secret: str = TOKEN, **more: Any
) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {secret}"}, trust_env=False, verify=False) as http,
        Client(
            streamable_http_client(f"http://127.0.0.1:{served.port}/mcp", http_client=http), mode=mode, **more
        ) as client,
    ):
        yield client


async def use(served: Serving, tool: str, **given: Any) -> dict[str, Any]:
    """Use a tool and return what it tells."""
    async with speaking(served) as client:
        answer = await client.call_tool(tool, given)
    assert not answer.is_error, answer.content
    told: dict[str, Any] = answer.structured_content
    return told


async def refused(served: Serving, tool: str, secret: str = TOKEN, **given: Any) -> str:
    """Use a tool that fails, and return why."""
    async with speaking(served, secret=secret) as client:
        answer = await client.call_tool(tool, given)
    assert answer.is_error, answer.structured_content
    return str(answer.content[0].text)


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def using(tool: str, **given: Any) -> dict[str, Any]:
    return message("tools/call", name=tool, arguments=given)


async def runs(served: Serving) -> int:
    return len((await ask(served, "GET", "/api/tasks")).body["tasks"])


# --- the protocol -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [*VERSIONS, "auto"])
async def test_a_client_of_any_version_is_answered(moongate: Serving, mode: str) -> None:
    async with speaking(moongate, mode) as client:
        listed = (await client.list_tools()).tools
        told = (await client.call_tool("send_message", {"message": "Hello"})).structured_content

    assert [tool.name for tool in listed] == [*MCP_TOOLS.by_name]
    assert (told["reply"], told["status"]) == ("echo: Hello", "succeeded")


@pytest.mark.parametrize(("tool", "field"), [("send_message", "message"), ("run_task", "input")])
async def test_stored_files_are_handed_to_an_agent_and_what_it_makes_is_told(
    moongate: Serving, tool: str, field: str
) -> None:
    async with moongate.client.post("/api/files?name=a.txt", data=b"hello") as response:
        stored = (await response.json())["file"]["id"]

    async with speaking(moongate) as client:
        asked = {field: "@@ read\n@@ file b.txt there", "attachments": [stored]}
        submitted = (await client.call_tool(tool, asked)).structured_content
        told = (await client.call_tool("wait_task", {"task_id": submitted["task_id"]})).structured_content
        unknown = await client.call_tool(tool, asked | {"attachments": ["01ARZ3NDEKTSV4RRFFQ69G5FAV"]})

    assert told["reply"] == hashlib.sha256(b"hello").hexdigest() + "\n"
    assert [(file["name"], file["size"]) for file in told["files"]] == [("b.txt", 5)]
    assert unknown.is_error
    assert await runs(moongate) == 1


async def test_every_tool_has_a_schema_and_says_what_it_is_for(moongate: Serving) -> None:
    async with speaking(moongate) as client:
        listed = (await client.list_tools()).tools
    for tool in listed:
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        assert tool.input_schema["type"] == "object"
        assert "(?!" not in str(tool.input_schema), "only Python reads that"
        assert tool.description


async def test_an_unknown_tool_is_an_error_of_the_protocol(moongate: Serving) -> None:
    async with speaking(moongate) as client:
        with pytest.raises(MCPError, match="no tool 'make_coffee'"):
            await client.call_tool("make_coffee", {})


@pytest.mark.parametrize(
    ("tool", "given", "why"),
    [
        ("send_message", {}, "message: is missing"),
        ("send_message", {"mesage": "hi"}, 'mesage: unknown field; did you mean "message"?'),
        ("send_message", {"message": 1}, "message: expected text, got a whole number"),
        ("send_message", {"message": "hi", "agent": "nobody"}, "nobody"),
        ("run_task", {"input": "x", "mode": "trun"}, 'mode: unknown value "trun"; did you mean "turn"?'),
        ("wait_task", {"task_id": "01X", "wait": 3600}, "wait: expected a number <= 40"),
        ("get_task", {"task_id": "01X"}, "no task"),
        ("read_session", {"session": "nowhere"}, "no session 'nowhere'"),
        ("add_schedule", {"schedule": "whenever", "prompt": "x"}, "whenever"),
        ("remove_schedule", {"schedule_id": "none"}, "no schedule"),
    ],
)
async def test_what_is_wrong_is_told_to_the_agent(
    moongate: Serving, tool: str, given: dict[str, Any], why: str
) -> None:
    assert why in await refused(moongate, tool, **given)


async def test_a_notification_is_taken_and_not_answered(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/mcp", {"jsonrpc": "2.0", "method": "notifications/initialized"})

    assert (answer.status, answer.body) == (202, "")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_there_are_no_sessions_to_listen_to_or_to_end(moongate: Serving, method: str) -> None:
    answer = await ask(moongate, method, "/mcp")

    assert (answer.status, answer.headers["Allow"], answer.body["jsonrpc"]) == (405, "POST", "2.0")


async def test_a_header_that_contradicts_the_message_is_refused(moongate: Serving) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    said = message("tools/list", _meta=meta)

    version = {"MCP_Protocol_Version": "2026-07-28"}
    wrong = await ask(moongate, "POST", "/mcp", said, **version, Mcp_Method="tools/call")
    right = await ask(moongate, "POST", "/mcp", said, **version, Mcp_Method="tools/list")
    unknown = await ask(moongate, "POST", "/mcp", said, MCP_Protocol_Version="1999-01-01", Mcp_Method="tools/list")

    assert (wrong.status, wrong.body["error"]["code"]) == (400, -32020)
    assert (right.status, len(right.body["result"]["tools"])) == (200, len(MCP_TOOLS.by_name))
    assert unknown.status == 400


# --- tools --------------------------------------------------------------------------------------


async def test_a_conversation_remembers(moongate: Serving) -> None:
    await use(moongate, "send_message", message="My name is Ada.", session="ada")
    told = await use(moongate, "send_message", message="@@ history", session="ada")
    transcript = await use(moongate, "read_session", session="ada", limit=2)

    assert (told["reply"], told["session"]) == ("2 messages", "main:mcp:ada")
    assert [line["content"] for line in transcript["messages"]] == ["@@ history", "2 messages"]


async def test_a_reply_that_takes_long_is_waited_for_again(moongate: Serving, pace: asyncio.Semaphore) -> None:
    told = await use(moongate, "send_message", message="@@ words 2 1", wait=0)
    assert (told["status"] in ("queued", "running"), "wait_task" in told["next"]) == (True, True)
    pace.release()
    pace.release()

    ended = await use(moongate, "wait_task", task_id=told["task_id"])

    assert (ended["status"], ended["reply"]) == ("succeeded", "w0 w1 ")


async def test_a_failed_message_says_why(moongate: Serving) -> None:
    assert "no luck" in await refused(moongate, "send_message", message="@@ fail no luck")


async def test_a_task_is_handed_in_and_looked_at(moongate: Serving) -> None:
    handed = await use(moongate, "run_task", input="Count.", labels={"team": "blue"})
    kept = await done(moongate, handed["task_id"])
    told = await use(moongate, "get_task", task_id=handed["task_id"])
    listed = await use(moongate, "list_tasks", status="succeeded")

    assert (kept["source"], kept["labels"], kept["result"]) == ("mcp", {"team": "blue"}, "echo: Count.")
    assert (told["reply"], "next" in told) == ("echo: Count.", False)
    assert [(task["task_id"], task["input"]) for task in listed["tasks"]] == [(handed["task_id"], "Count.")]


async def test_a_task_is_followed_to_its_end(moongate: Serving, pace: asyncio.Semaphore) -> None:
    handed = await use(moongate, "run_task", input="@@ words 4 1")
    followed, after, pieces = {"ended": False}, 0, 0
    said: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while not followed["ended"]:
            followed = await use(moongate, "follow_task", task_id=handed["task_id"], after=after)
            after, pieces = followed["last_event"], pieces + 1
            pace.release()
            said += [event["data"]["delta"] for event in followed["events"] if event["data"]["kind"] == "text"]

    assert "".join(said) == "".join(f"w{number} " for number in range(4))
    assert pieces > 1


async def test_an_answer_holds_no_more_of_a_log_than_fits_but_always_an_event(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "MAX_FOLLOWED_BYTES", 1)
    task = await done(moongate, (await use(moongate, "run_task", input="Count."))["task_id"])

    seen: list[int] = []
    followed: dict[str, Any] = {"ended": False, "last_event": 0}
    while not followed["ended"]:
        followed = await use(moongate, "follow_task", task_id=task["id"], after=followed["last_event"])
        assert len(followed["events"]) == 1
        seen.append(followed["events"][0]["n"])

    assert seen == list(range(1, task["last_event"] + 1))


async def test_nothing_new_is_told_when_the_time_is_up(moongate: Serving) -> None:
    task = await submit(moongate, "@@ hang")
    await running(moongate, task["id"])
    first = await use(moongate, "follow_task", task_id=task["id"])

    followed = await use(moongate, "follow_task", task_id=task["id"], after=first["last_event"], wait=0.05)

    assert (followed["events"], followed["last_event"], followed["ended"]) == ([], first["last_event"], False)


async def test_a_task_is_cancelled(moongate: Serving) -> None:
    task = await submit(moongate, "@@ hang")
    await running(moongate, task["id"])

    await use(moongate, "cancel_task", task_id=task["id"])

    assert (await done(moongate, task["id"]))["status"] == "cancelled"
    assert "cancelled" in await refused(moongate, "cancel_task", task_id=task["id"])


async def test_agents_and_sessions_are_listed(moongate: Serving) -> None:
    await use(moongate, "send_message", message="Hello", session="ada")

    agents = (await use(moongate, "list_agents"))["agents"]
    sessions = (await use(moongate, "list_sessions"))["sessions"]

    assert [(agent["id"], agent["is_default"]) for agent in agents] == [("main", True)]
    assert [session["key"] for session in sessions] == ["main:mcp:ada"]


async def test_a_schedule_is_made_and_removed(moongate: Serving) -> None:
    made = await use(moongate, "add_schedule", schedule="every 1h", prompt="Look at the inbox.", name="inbox")
    listed = (await use(moongate, "list_schedules"))["schedules"]
    await use(moongate, "remove_schedule", schedule_id=made["schedule_id"])

    assert [(one["schedule_id"], one["name"], one["schedule"]) for one in listed] == [
        (made["schedule_id"], "inbox", "every 1h")
    ]
    assert (await use(moongate, "list_schedules"))["schedules"] == []


@pytest.mark.parametrize("mode", VERSIONS)
async def test_who_asks_for_progress_is_told_what_the_agent_does(moongate: Serving, mode: str) -> None:
    told: list[tuple[float, str | None]] = []

    async def note(progress: float, _: float | None, said: str | None) -> None:
        told.append((progress, said))

    async with speaking(moongate, mode) as client:
        answer = await client.call_tool("send_message", {"message": "@@ words 3 0.1"}, progress_callback=note)

    assert answer.structured_content["reply"].endswith("w0 w1 w2 ")
    assert "[running]" in [said for _, said in told]
    assert [number for number, _ in told] == sorted({number for number, _ in told})


async def test_the_same_key_hands_in_one_task(moongate: Serving) -> None:
    answers = [
        await ask(moongate, "POST", "/mcp", using("run_task", input="once"), Idempotency_Key="k") for _ in range(2)
    ]

    ids = {answer.body["result"]["structuredContent"]["task_id"] for answer in answers}
    assert (len(ids), await runs(moongate)) == (1, 1)


# --- what agents ask ----------------------------------------------------------------------------

QUESTION = {
    "message": "What shall it be?",
    "fields": [
        {"name": "colour", "type": "choice", "options": [{"value": "r", "label": "Red"}], "custom": True},
        {"name": "tags", "type": "choice", "options": [{"value": "a", "description": "b"}], "multiple": True},
        {"name": "count", "title": "How many", "description": "of them", "type": "integer", "required": False},
    ],
}


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Serving]:
    """A gateway whose agent asks people."""
    agent = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
    async with serving(tmp_path, {"agents": {"list": [agent]}}) as served:
        yield served


class User:
    """The user of a client that shows forms: fills in one after the other as the test says."""

    def __init__(self, *fills: ElicitResult) -> None:
        self.fills = [*fills]
        self.shown: list[Any] = []

    async def fill_in(self, _: Any, params: Any) -> ElicitResult:
        self.shown.append(params)
        return self.fills.pop(0)


def filled(**content: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=content)


async def send(served: Serving, user: User, message: str, **more: Any) -> Any:
    """Send a message with a client that shows forms; return the answer of the tool."""
    async with speaking(served, elicitation_callback=user.fill_in, **more) as client:
        return await client.call_tool("send_message", {"message": message})


@pytest.mark.parametrize("answer", ["allow", "allow_always", "deny"])
async def test_the_user_of_a_client_answers_a_permission_request_in_a_form(asking: Serving, answer: str) -> None:
    user = User(filled(answer=answer))
    told = await send(asking, user, "@@ ask rm -rf")

    [form] = user.shown
    assert form.message == "The agent asks to be allowed: rm -rf"
    assert [one["const"] for one in form.requested_schema["properties"]["answer"]["oneOf"]] == [
        "allow",
        "allow_always",
        "deny",
    ]
    assert told.structured_content["reply"] == answer
    assert await runs(asking) == 1


async def test_the_user_of_a_client_answers_a_question_in_a_form(asking: Serving) -> None:
    user = User(filled(colour=None, colour_custom="green", tags=["a"], count=3))
    told = await send(asking, user, f"@@ question {json.dumps(QUESTION)}")

    [form] = user.shown
    assert form.message == "What shall it be?"
    assert form.requested_schema == {
        "type": "object",
        "properties": {
            "colour": {"title": "colour", "type": "string", "oneOf": [{"const": "r", "title": "Red"}]},
            "colour_custom": {"type": "string", "title": "Another answer"},
            "tags": {"title": "tags", "type": "array", "items": {"anyOf": [{"const": "a", "title": "a: b"}]}},
            "count": {"title": "How many", "description": "of them", "type": "integer"},
        },
        "required": ["tags"],
    }
    assert json.loads(told.structured_content["reply"]) == {"colour": "green", "tags": ["a"], "count": 3}
    task = (await ask(asking, "GET", "/api/tasks")).body["tasks"][0]["id"]
    [request] = (await ask(asking, "GET", f"/api/tasks/{task}/permissions")).body["permissions"]
    assert request["answered_by"] == "owner"


async def test_a_form_has_a_field_for_each_answer_whatever_the_agent_calls_them(asking: Serving) -> None:
    choice = {"type": "choice", "options": [{"value": "r"}], "custom": True}
    names = {"name": "names", "type": "choice", "multiple": True, "custom": True}
    fields = [{"name": "x", **choice}, {"name": "x_custom", "required": False}, names]
    user = User(filled(x="r", x_custom="text", names="one, two"))

    told = await send(asking, user, f"@@ question {json.dumps({'message': 'Which?', 'fields': fields})}")

    assert list(user.shown[0].requested_schema["properties"]) == ["x", "x_custom_", "x_custom", "names"]
    assert json.loads(told.structured_content["reply"]) == {"x": "r", "x_custom": "text", "names": ["one", "two"]}


async def test_a_form_that_the_user_declines_is_denied(asking: Serving) -> None:
    told = await send(asking, User(ElicitResult(action="decline")), "@@ ask one\n@@ say !")

    assert told.structured_content["reply"] == "deny!"


async def test_each_request_of_an_agent_is_a_form_of_its_own(asking: Serving) -> None:
    user = User(filled(answer="allow"), filled(answer="deny"))
    told = await send(asking, user, "@@ ask one\n@@ ask two")

    assert (told.structured_content["reply"], len(user.shown)) == ("allowdeny", 2)


async def test_a_form_that_the_user_dismisses_waits_on_and_is_not_shown_again(asking: Serving) -> None:
    user = User(ElicitResult(action="cancel"))
    async with speaking(asking, elicitation_callback=user.fill_in) as client:
        told = (await client.call_tool("send_message", {"message": "@@ ask one", "wait": 2})).structured_content

    assert (len(user.shown), told["status"]) == (1, "running")
    assert [one["action"] for one in told["asks"]] == ["one"]
    await ask(asking, "POST", f"/api/tasks/{told['task_id']}/permissions/p1", {"answer": "allow"})
    assert (await done(asking, told["task_id"]))["result"] == "allow"


async def test_an_answer_that_does_not_fit_is_told_and_the_request_waits_on(asking: Serving) -> None:
    told = await send(asking, User(filled(colour="r", tags=["z"])), f"@@ question {json.dumps(QUESTION)}")

    assert told.is_error
    assert told.content[0].text == "content.tags: it must be a list of some of a."
    task = (await ask(asking, "GET", "/api/tasks")).body["tasks"][0]["id"]
    assert [one["answer"] for one in (await ask(asking, "GET", f"/api/tasks/{task}")).body["permissions"]] == [None]


async def test_what_somebody_else_answers_first_counts(asking: Serving) -> None:
    user = User(filled(answer="allow"))

    async def fill_in(context: Any, params: Any) -> ElicitResult:
        task = (await ask(asking, "GET", "/api/tasks")).body["tasks"][0]["id"]
        await ask(asking, "POST", f"/api/tasks/{task}/permissions/p1", {"answer": "deny"})
        return await user.fill_in(context, params)

    async with speaking(asking, elicitation_callback=fill_in) as client:
        told = await client.call_tool("send_message", {"message": "@@ ask one"})

    assert told.structured_content["reply"] == "deny"


async def test_a_client_that_shows_no_forms_is_told_what_its_agent_asks(asking: Serving) -> None:
    told = await use(asking, "send_message", message="@@ ask one", wait=2)
    shown = await use(asking, "get_task", task_id=told["task_id"])

    assert [(one["id"], one["action"]) for one in told["asks"]] == [("p1", "one")]
    assert told["next"].startswith("Its agent waits until people answer what it asks.")
    assert shown["asks"] == told["asks"]
    await asking.engine.runs.cancel_run(told["task_id"])


async def test_a_token_that_reads_gets_no_forms_and_can_answer_none(asking: Serving) -> None:
    secret, user = await token(asking, "reader", "read"), User()
    task = (await submit(asking, "@@ ask one"))["id"]
    async with speaking(asking, secret=secret, elicitation_callback=user.fill_in) as client:
        told = (await client.call_tool("wait_task", {"task_id": task, "wait": 0.3})).structured_content
        answer = await client.session.call_tool(
            "wait_task",
            {"task_id": task},
            input_responses={"p1": filled(answer="allow")},
            request_state=task,
            allow_input_required=True,
        )

    assert (user.shown, [one["id"] for one in told["asks"]]) == ([], ["p1"])
    assert answer.is_error
    assert (await ask(asking, "GET", f"/api/tasks/{task}")).body["permissions"][0]["answer"] is None
    await asking.engine.runs.cancel_run(task)


# --- who may ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", VERSIONS)
async def test_a_token_that_reads_has_tools_that_read(moongate: Serving, mode: str) -> None:
    secret = await token(moongate, "reader", "read")
    async with speaking(moongate, mode, secret) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
    why = {name: await refused(moongate, name, secret) for name in MCP_TOOLS.by_name if name not in listed}

    assert listed == {name for name, tool in MCP_TOOLS.by_name.items() if tool.scope is Scope.READ}
    assert set(why.values()) == {"this token has the scope read; write is needed."}
    assert await runs(moongate) == 0


async def test_a_wrong_token_opens_nothing(moongate: Serving) -> None:
    async with speaking(moongate, secret="wrong") as client:
        with pytest.raises(MCPError, match="the token is wrong"):
            await client.list_tools()
    answer = await ask(moongate, "POST", "/mcp", message("initialize"), token="wrong")

    assert (answer.status, answer.body["error"]["data"]["code"]) == (401, "UNAUTHORIZED")


async def test_a_foreign_page_and_a_foreign_name_are_refused(moongate: Serving) -> None:
    origin = await ask(moongate, "POST", "/mcp", message("ping"), Origin="https://evil.example")
    host = read(await raw(moongate, head("POST /mcp", host="evil.example")))

    assert (origin.status, origin.body["jsonrpc"]) == (403, "2.0")
    assert (host.status, host.body["jsonrpc"]) == (421, "2.0")


async def test_a_revoked_token_ends_what_is_followed_with_it(moongate: Serving) -> None:
    secret = await token(moongate, "passing", "write")
    said = using("send_message", message="@@ hang")
    said["params"]["_meta"] = {"progressToken": 1}
    async with stream(moongate, "/mcp", method="POST", body=said, token=secret) as sse:
        await sse.next()
        await moongate.engine.tokens.revoke_token("passing")
        rest = await sse.rest()

    assert all("result" not in frame.data for frame in rest)


async def test_whoever_waits_is_told_that_the_gateway_stops(moongate: Serving) -> None:
    task = await submit(moongate, "@@ hang")
    await running(moongate, task["id"])
    waiting = asyncio.create_task(refused(moongate, "wait_task", task_id=task["id"]))
    await moongate.engine.drain_runs(0)

    assert "goes on when it is back" in await waiting


# --- hostile ------------------------------------------------------------------------------------

HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"hello",
    "an empty batch": b"[]",
    "a batch with something else": b'[{"jsonrpc":"2.0","id":1,"method":"ping"}, 1]',
    "a batch that is too long": b"[" + b",".join([b'{"jsonrpc":"2.0","id":1,"method":"ping"}'] * 65) + b"]",
    "of another protocol": b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
    "without a method": b'{"jsonrpc":"2.0","id":1,"result":{}}',
    "an id that is null": b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    "an id that is no whole number": b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    "an id that is a flag": b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    "parameters by position": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}',
    "not UTF-8": b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}',
    "too deep": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}}",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_what_is_no_message_is_refused_as_one(moongate: Serving, body: bytes) -> None:
    answer = read(await raw(moongate, post("/mcp", body)))

    assert (answer.status, answer.body["id"], answer.body["error"]["code"]) == (400, None, -32600)


async def test_a_batch_is_answered_in_one_list(moongate: Serving) -> None:
    batch = [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        using("send_message", message="Hello"),
        {**using("make_coffee"), "id": "two"},
    ]
    answer = await ask(moongate, "POST", "/mcp", batch)

    assert [said["id"] for said in answer.body] == [1, "two"]
    assert answer.body[0]["result"]["structuredContent"]["reply"] == "echo: Hello"
    assert "make_coffee" in answer.body[1]["error"]["message"]


async def test_the_answers_of_a_batch_have_a_bound_together_but_for_those_that_cannot_be_had_again(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_BATCH_ANSWER_BYTES", 100_000)
    said = f"@@ say {'x' * 10_000}"
    await ask(moongate, "POST", "/mcp", using("send_message", message=said))
    batch = [
        *({**using("read_session", session="default"), "id": number} for number in range(20)),
        {**using("send_message", message=said, session="other"), "id": 20},
    ]
    answer = await ask(moongate, "POST", "/mcp", batch)
    alone = await ask(moongate, "POST", "/mcp", batch[19])

    refused = [one["error"]["message"] for one in answer.body if "error" in one]
    assert [one["id"] for one in answer.body] == list(range(21))
    assert set(refused) == {"the answers of this batch are too large together. Send this request alone."}
    assert int(answer.headers["Content-Length"]) < 200_000
    assert "x" * 10_000 in answer.body[20]["result"]["structuredContent"]["reply"]
    assert "x" * 10_000 in alone.body["result"]["structuredContent"]["messages"][-1]["content"]


def test_an_answer_that_has_no_room_takes_none_from_smaller_ones() -> None:
    room = protocol._AnswerRoom(100)

    assert [room.take(size) for size in (60, 60, 40, 1)] == [True, False, True, False]


async def test_a_batch_of_notifications_is_taken_and_not_answered(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/mcp", [{"jsonrpc": "2.0", "method": "notifications/initialized"}])

    assert answer.status == 202


@pytest.mark.parametrize(
    ("header", "why"), [({"MCP_Protocol_Version": "2025-06-18"}, "2025-06-18"), ({"Idempotency_Key": "k"}, "single")]
)
async def test_a_batch_that_cannot_be_one_is_refused(moongate: Serving, header: dict[str, str], why: str) -> None:
    answer = await ask(moongate, "POST", "/mcp", [using("send_message", message="Hello")], **header)

    assert answer.status == 400
    assert why in answer.body["error"]["message"]
    assert await runs(moongate) == 0


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"name": 1},
        {"name": "send_message", "arguments": []},
        {"name": "send_message", "arguments": {"message": {"a": 1}}},
        {"name": "x" * 100_000, "arguments": {}},
        {"name": "send_message", "arguments": {"message": "hi"}, "_meta": []},
        {"name": "run_task", "arguments": {"input": "", "labels": {"a\nb": "c"}}},
        {"name": "get_task", "arguments": {"task_id": "../../etc/passwd"}},
        {"name": "get_task", "arguments": {"task_id": 10**30}},
    ],
    ids=range(9),
)
async def test_whatever_a_tool_is_given_there_is_an_answer_and_no_run(moongate: Serving, params: Any) -> None:
    answer = await ask(moongate, "POST", "/mcp", message("tools/call", **params))

    assert answer.status == 200
    assert "error" in answer.body or answer.body["result"]["isError"]
    assert len(str(answer.body)) < 2000
    assert await runs(moongate) == 0


async def test_deep_arguments_are_refused(moongate: Serving) -> None:
    for depth in (100, 500, 900):
        said = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_task","arguments":{"a":%s}}}'
        answer = read(await raw(moongate, post("/mcp", said % (b"[" * depth + b"]" * depth))))

        assert answer.status in (200, 400), depth
        assert "Traceback" not in str(answer.body)


async def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"limits": {"body": 1024}}) as served:
        answer = await ask(served, "POST", "/mcp", using("send_message", message="x" * 1024))

    assert (answer.status, answer.body["error"]["data"]["code"]) == (413, "TOO_LARGE")


async def test_without_the_library_it_is_said_how_to_install_it(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "gateway.api.compat.mcp.protocol", raising=False)
    monkeypatch.setitem(sys.modules, "mcp.server.connection", None)

    answer = await ask(moongate, "POST", "/mcp", message("ping"))

    assert (answer.status, answer.body["error"]["data"]["code"]) == (501, "NOT_INSTALLED")
    assert "pip install 'moongate[mcp]'" in answer.body["error"]["message"]


def test_the_page_names_every_tool() -> None:
    page = (Path(__file__).parents[3] / "docs" / "clients" / "mcp.md").read_text()

    assert [name for name in MCP_TOOLS.by_name if f"`{name}`" not in page] == []


def test_it_is_one_route() -> None:
    found: list[Route] = [route for route in discover_routes() if route.path == "/mcp"]

    assert [(route.method, route.scope) for route in found] == [("POST", Scope.READ)]
