"""OpenClaw's hooks, and Team Board's client of them as its document prints it."""

from __future__ import annotations

import asyncio
import base64
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from gateway.api import openclaw_callback
from gateway.api.compat import openclaw
from gateway.domain.event import Usage
from gateway.domain.run import Outcome, Run, RunSpec, Source, Status
from harness.waiting import PATIENCE
from harness.webhook_receiver import serve_receiver
from tests.api.client import ask, done, running
from tests.support import telegram_server
from tests.support.inprocess import TOKEN, Serving, serving

pytestmark = pytest.mark.both_stores

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
DATA = Path(__file__).parents[2] / "data"
#: Team Board's document, as it was saved: without indentation, its lines divided by `|`
DOCUMENT = DATA / "team-board.md"
#: the client that it prints, with its indentation put back
CLIENT = DATA / "openclaw_client.txt"


def client(served: Serving) -> Any:
    """Return Team Board's own client, unchanged."""
    defined: dict[str, Any] = {}
    exec(compile(CLIENT.read_text("utf-8"), CLIENT.name, "exec"), defined)
    return defined["OpenClawClient"](f"http://127.0.0.1:{served.port}", TOKEN)


@pytest.fixture
def board(moongate: Serving) -> Any:
    return client(moongate)


async def hook(served: Serving, body: dict[str, Any], **headers: str) -> Any:
    return await ask(served, "POST", "/hooks/agent", body, **headers)


# --- the client -------------------------------------------------------------------------------


def test_the_client_is_the_one_that_the_document_prints() -> None:
    text = "\n".join(line for line in DOCUMENT.read_text("utf-8").splitlines() if line != "|")
    (printed,) = re.findall(r"```python\n(# shared/openclaw_client\.py\n.*?)```", text, re.DOTALL)

    assert [line.strip() for line in CLIENT.read_text("utf-8").splitlines()] == printed.splitlines()


async def test_the_client_wakes_the_main_session(moongate: Serving, board: Any) -> None:
    woken = await board.wake("The build is red")

    assert {key: woken[key] for key in ("ok", "mode", "eventOutcome")} == {
        "ok": True,
        "mode": "now",
        "eventOutcome": "queued",
    }
    task = await done(moongate, woken["runId"])
    assert (task["session"], task["result"], task["source"]) == ("main:hooks:main", "echo: The build is red", "hook")


async def test_the_client_runs_an_agent_and_reads_its_history(moongate: Serving, board: Any) -> None:
    answer = await board.run_agent("Say hello", "task:42", timeout=90)

    assert (answer["ok"], answer["sessionKey"]) == (True, "task:42")
    task = await done(moongate, answer["runId"])
    assert (task["session"], task["status"]) == ("main:hooks:task:42", "succeeded")
    assert (await moongate.engine.runs.get_run(task["id"])).spec.timeout == 90
    assert task["labels"] == {"name": "TeamBoard", "sessionKey": "task:42", "agentId": "main"}
    history = await board.get_session_history("task:42")
    assert history["sessionKey"] == "task:42"
    said = [(line["role"], line["content"], line["run_id"]) for line in history["messages"]]
    assert said == [("user", "Say hello", task["id"]), ("assistant", "echo: Say hello", task["id"])]


async def test_the_client_names_an_agent_by_its_slug(moongate: Serving, board: Any) -> None:
    made = (await ask(moongate, "POST", "/api/agents", {"slug": "reviewer"})).body["agent"]

    answer = await board.run_agent("Look", "task:1", agent_id="reviewer")

    assert (await done(moongate, answer["runId"]))["session"] == f"{made['id']}:hooks:task:1"
    assert len((await board.get_session_history("task:1"))["messages"]) == 2


# --- waking -----------------------------------------------------------------------------------


async def test_what_waits_there_already_is_not_told_twice(moongate: Serving) -> None:
    async def wake(text: str) -> dict[str, Any]:
        body: dict[str, Any] = (await ask(moongate, "POST", "/hooks/wake", {"text": text})).body
        return body

    first = await wake("@@ hang")
    await running(moongate, first["runId"])
    woken = await asyncio.gather(*(wake("The build is red") for _ in range(10)), wake("It is green again"))

    assert sorted(one["eventOutcome"] for one in woken) == ["coalesced"] * 9 + ["queued"] * 2
    assert len({one["runId"] for one in woken[:10]}) == 1
    assert len((await ask(moongate, "GET", "/api/tasks")).body["tasks"]) == 3


async def test_what_is_at_work_already_is_told_again(moongate: Serving) -> None:
    answers = []
    for _ in range(2):
        answers.append((await ask(moongate, "POST", "/hooks/wake", {"text": "@@ hang", "mode": "next-heartbeat"})).body)
        if len(answers) == 1:
            await running(moongate, answers[0]["runId"])

    assert [(one["mode"], one["eventOutcome"]) for one in answers] == [("next-heartbeat", "queued")] * 2


# --- running an agent -------------------------------------------------------------------------


async def test_who_waits_for_completion_gets_the_reply(moongate: Serving) -> None:
    answer = await hook(moongate, {"message": "hello", "waitForCompletion": True, "thinking": "low"})

    assert (answer.status, answer.body["ok"], answer.body["reply"]) == (200, True, "echo: hello")
    assert answer.headers["X-Run-Id"] == answer.body["runId"]


async def test_who_waits_is_told_of_a_failure(moongate: Serving) -> None:
    answer = await hook(moongate, {"message": "@@ fail no luck", "waitForCompletion": True})

    assert (answer.status, answer.body) == (502, {"ok": False, "error": "no luck"})
    assert (await ask(moongate, "GET", f"/api/tasks/{answer.headers['X-Run-Id']}")).body["task"]["status"] == "failed"


async def test_its_time_and_its_model_are_its_own(moongate: Serving) -> None:
    answer = await hook(moongate, {"message": "@@ hang", "timeoutSeconds": 0.1, "model": "a/b"})

    task = await done(moongate, answer.body["runId"])
    assert (task["outcome"], task["model"]) == ("timeout", "a/b")


async def test_without_a_session_each_has_its_own(moongate: Serving) -> None:
    answers = [await hook(moongate, {"message": "hello"}) for _ in range(2)]

    assert len({answer.body["sessionKey"] for answer in answers}) == 2


async def test_a_token_in_its_own_header_is_as_good(moongate: Serving) -> None:
    async def statuses(**headers: str) -> list[int]:
        moongate.client.headers.pop("Authorization", None)
        asked = [
            ("POST", "/hooks/wake", {"text": "hello"}),
            ("POST", "/hooks/agent", {"message": "hello"}),
            ("GET", "/api/tasks", None),
        ]
        return [(await ask(moongate, method, path, body, **headers)).status for method, path, body in asked]

    assert await statuses(X_OpenClaw_Token=TOKEN) == [200, 200, 401]
    assert await statuses(X_OpenClaw_Token="wrong") == [401, 401, 401]
    assert await statuses(X_OpenClaw_Token="") == [401, 401, 401]
    assert await statuses(X_OpenClaw_Token=TOKEN, Authorization="Bearer wrong") == [401, 401, 401]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("wake", {}, 400, "text: is missing"),
        ("wake", {"text": ""}, 400, "text: "),
        ("wake", {"text": "x", "mode": "later"}, 400, 'unknown value "later"'),
        ("wake", {"text": "x" * 300_000}, 413, "262144 bytes"),
        ("agent", {}, 400, "message: is missing"),
        ("agent", {"message": "x", "agentId": "nobody"}, 404, "no agent 'nobody'"),
        ("agent", {"message": "x", "sessionKey": "a\nb"}, 400, "printable"),
        ("agent", {"message": "x", "timeoutSeconds": 0}, 400, "timeoutSeconds: "),
        ("agent", {"message": "x", "model": "--yes"}, 400, "model: "),
        ("agent", {"message": "x", "deliver": True}, 400, "deliver: needs channel and to"),
        ("agent", {"message": "x", "deliver": True, "channel": "telegrim", "to": "1"}, 404, "no channel 'telegrim'"),
        ("agent", {"message": "x", "deliver": True, "channel": "webchat", "to": "1"}, 400, "sends nothing"),
        ("agent", {"message": "x", "callbackUrl": "file:///etc/passwd"}, 400, "callbackUrl: "),
        ("agent", {"message": "x", "callbackUrl": "http://a b"}, 400, "callbackUrl: "),
        ("agent", {"message": "x", "callbackUrl": "http://169.254.169.254/"}, 400, "callbackUrl: "),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_kept(
    moongate: Serving, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    answer = await ask(moongate, "POST", f"/hooks/{path}", body)

    assert (answer.status, answer.body["ok"]) == (status, False), answer.body
    assert said in answer.body["error"]
    assert (await ask(moongate, "GET", "/api/tasks")).body["tasks"] == []


# --- word of the end --------------------------------------------------------------------------


def ended(**fields: Any) -> Run:
    spec = RunSpec(source=Source.HOOK, agent="main", session="main:hooks:task:42", input="x", **fields)
    return Run(
        id="01J",
        seq=1,
        spec=spec,
        status=Status.SUCCEEDED,
        outcome=Outcome.COMPLETED,
        result="done",
        usage=Usage(input=3, output=4),
        created=0,
        finished=1_700_000_000_000,
    )


def test_the_callback_has_the_documented_fields() -> None:
    told = msgspec.json.decode(openclaw.BODIES["openclaw"](ended()))

    assert told == {
        "sessionKey": "task:42",
        "runId": "01J",
        "agentId": "main",
        "status": "succeeded",
        "result": "done",
        "error": None,
        "usage": {"input": 3, "output": 4, "cached": 0, "cost": 0.0},
        "finishedAt": "2023-11-14T22:13:20.000Z",
    }


def test_the_callback_names_things_as_its_caller_did() -> None:
    labels = {"sessionKey": "main:hooks:task:42", "agentId": "reviewer"}

    told = msgspec.json.decode(openclaw_callback.encode_callback(ended(labels=labels)))

    assert (told["sessionKey"], told["agentId"]) == ("main:hooks:task:42", "reviewer")


async def delivered(served: Serving, count: int) -> None:
    """Wait until so many deliveries have arrived, and see that there are no others."""

    async def counted() -> list[str]:
        return [one["status"] for one in (await ask(served, "GET", "/api/deliveries")).body["deliveries"]]

    async with asyncio.timeout(PATIENCE):
        while (statuses := await counted()) != ["delivered"] * count:
            assert len(statuses) <= count
            await asyncio.sleep(0.01)


async def test_the_client_is_called_back_once_and_signed(tmp_path: Path) -> None:
    async with serve_receiver() as receiver:
        settings = {"hooks": {"callbackUrl": receiver.url}, "webhooks": {"secret": SECRET}}
        async with serving(tmp_path / "home", settings) as served:
            answer = await client(served).run_agent("hello", "task:42")
            await delivered(served, 1)
        async with serving(tmp_path / "home", settings) as served:
            woken = await client(served).wake("nobody is told of this")
            await done(served, woken["runId"])
            failing = await client(served).run_agent("@@ fail no luck", "task:43")
            await delivered(served, 2)

    told = [Webhook(SECRET).verify(request.body, dict(request.headers)) for request in receiver.requests]
    assert [{name: one[name] for name in ("sessionKey", "runId", "status", "result", "error")} for one in told] == [
        {
            "sessionKey": "task:42",
            "runId": answer["runId"],
            "status": "succeeded",
            "result": "echo: hello",
            "error": None,
        },
        {"sessionKey": "task:43", "runId": failing["runId"], "status": "failed", "result": None, "error": "no luck"},
    ]


async def test_the_end_of_an_assigned_task_is_told_too(tmp_path: Path) -> None:
    async with (
        serve_receiver() as receiver,
        serving(tmp_path / "home", {"hooks": {"callbackUrl": receiver.url}}) as served,
    ):
        for path in ("/agents", "/api/agents"):
            await ask(served, "POST", f"{path}/main/assign", {"task_id": path, "prompt": "hello"})
        await delivered(served, 2)

    told = sorted((one.json["sessionKey"], one.json["agentId"], one.json["result"]) for one in receiver.requests)
    assert told == [("task:/agents", "main", "echo: hello"), ("task:/api/agents", "main", "echo: hello")]


async def test_who_asks_to_be_called_back_elsewhere_is(tmp_path: Path) -> None:
    async with (
        serve_receiver() as configured,
        serve_receiver() as asked,
        serving(tmp_path / "home", {"hooks": {"callbackUrl": configured.url}}) as served,
    ):
        await hook(served, {"message": "hello", "callbackUrl": asked.url})
        await delivered(served, 1)

    assert (len(configured.requests), len(asked.requests)) == (0, 1)


async def test_only_the_place_that_the_settings_name_is_trusted(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/hook"
    async with serving(tmp_path / "home", {"hooks": {"callbackUrl": url}}) as served:
        answers = [await hook(served, {"message": "hello", **more}) for more in ({}, {"callbackUrl": url})]
        runs = [await served.engine.runs.get_run(answer.body["runId"]) for answer in answers]

    assert [[target.trusted for target in run.spec.deliver] for run in runs] == [[True], [False]]


async def test_a_reply_goes_to_the_chat_that_is_named(tmp_path: Path) -> None:
    async with telegram_server.serve_telegram() as telegram:
        channel = {"token": telegram_server.BOT_TOKEN, "base_url": telegram.base_url, "chats": [123]}
        async with serving(tmp_path / "home", {"channels": {"telegram": channel}}) as served:
            await hook(served, {"message": "hello", "deliver": True, "channel": "telegram", "to": "123"})
            await delivered(served, 1)

        assert telegram.chats[123].texts == ["echo: hello"]
