"""The document of xopc's gateway, line by line: its requests and its client programs.

The requests are verbatim, except for the base URL and `YOUR_TOKEN`; requests without a token go to a gateway
with `auth.mode: none`. As in the document, the channel `telegram` is not configured.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from harness.live_gateway import Live
from tests.support import providers
from tests.support.store_kinds import KIND_NAMES, prepared_kind

#: the address in the document's examples
DOCUMENTED = "http://localhost:18790"
SECRET = "the secret of the webhook"

CURL = {
    "send a message": """
curl -X POST http://localhost:18790/api/message \\
  -H "Content-Type: application/json" \\
  -d '{"channel": "telegram", "chat_id": "123", "content": "Hello!"}'
""",
    "talk to the agent": """
curl -X POST http://localhost:18790/api/agent \\
  -H "Content-Type: application/json" \\
  -d '{"message": "What is 2+2?"}'
""",
    "health": """
curl http://localhost:18790/health
""",
    "with a token": """
curl -X POST http://localhost:18790/api/agent \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer YOUR_TOKEN" \\
  -d '{"message": "Hello"}'
""",
}

JAVASCRIPT = """
async function sendMessage(content, chatId) {
  const res = await fetch('http://localhost:18790/api/message', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({
      channel: 'telegram',
      chat_id: chatId,
      content: content
    })
  });
  return res.json();
}

async function chatWithAgent(message) {
  const res = await fetch('http://localhost:18790/api/agent', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ message })
  });
  return res.json();
}
"""

PYTHON = """
import requests

def send_message(content, chat_id):
    resp = requests.post(
        'http://localhost:18790/api/message',
        json={
            'channel': 'telegram',
            'chat_id': chat_id,
            'content': content
        }
    )
    return resp.json()

def chat(message):
    resp = requests.post(
        'http://localhost:18790/api/agent',
        json={'message': message}
    )
    return resp.json()
"""


@pytest.fixture(scope="module", params=KIND_NAMES)
def gateways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Live]]:
    """One gateway without a token, and one that requires a token."""
    place = tmp_path_factory.mktemp("xopc")
    inbound = {"ci": {"provider": "generic", "secret": SECRET}}
    with prepared_kind(request.param) as kind:
        open_one = Live(
            place / "open",
            config={"gateway": {"auth": {"mode": "none"}}, "inbound": inbound},
            store=kind.find_live(place / "open"),
        )
        made = (open_one, Live(place / "closed", store=kind.find_live(place / "closed")))
        for gateway in made:
            gateway.start()
        yield made
        for gateway in made:
            gateway.close()


@pytest.fixture
def xopc(gateways: tuple[Live, Live]) -> Live:
    """A gateway without a token, as in the document."""
    return gateways[0]


@pytest.fixture
def guarded(gateways: tuple[Live, Live]) -> Live:
    return gateways[1]


def curl(gateway: Live, command: str) -> Any:
    command = command.strip().replace(DOCUMENTED, gateway.url)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


def node(gateway: Live, expression: str, program: str = JAVASCRIPT) -> Any:
    if shutil.which("node") is None:
        pytest.skip("node is not installed: the fetch examples need it")
    program = program.replace(DOCUMENTED, gateway.url)
    program += f"\n({expression}).then(answer => console.log(JSON.stringify(answer)))"
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


def python(gateway: Live, program: str = PYTHON) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(program.replace(DOCUMENTED, gateway.url), names)
    return names


# --- the command line -------------------------------------------------------------------------


def test_curl_sends_a_message(xopc: Live) -> None:
    answer = curl(xopc, CURL["send a message"].replace("telegram", "webchat"))

    assert answer == {"status": "ok", "message_id": answer["message_id"]}


def test_curl_is_told_that_telegram_is_not_configured(xopc: Live) -> None:
    answer = curl(xopc, CURL["send a message"])

    assert answer["error"]["code"] == "CHANNEL_NOT_FOUND"
    assert "telegram" in answer["error"]["message"]


def test_curl_talks_to_the_agent(xopc: Live) -> None:
    answer = curl(xopc, CURL["talk to the agent"])

    assert (answer["status"], answer["reply"], answer["session"]) == ("ok", "echo: What is 2+2?", "default")


def test_curl_asks_for_health(xopc: Live, guarded: Live) -> None:
    for gateway in (xopc, guarded):
        answer = curl(gateway, CURL["health"])

        assert answer["status"] == "healthy"
        assert isinstance(answer["uptime"], int)


def test_curl_sends_a_token(guarded: Live, xopc: Live) -> None:
    command = CURL["with a token"].replace("YOUR_TOKEN", guarded.token)

    assert curl(guarded, command)["reply"] == "echo: Hello"
    assert curl(guarded, CURL["with a token"])["error"]["code"] == "UNAUTHORIZED"
    assert curl(xopc, CURL["with a token"])["reply"] == "echo: Hello"


# --- the client programs ----------------------------------------------------------------------


def test_javascript_sends_a_message(xopc: Live) -> None:
    answer = node(xopc, "sendMessage('Hello!', '123')", JAVASCRIPT.replace("telegram", "webchat"))

    assert answer == {"status": "ok", "message_id": answer["message_id"]}


def test_javascript_is_told_that_telegram_is_not_configured(xopc: Live) -> None:
    assert node(xopc, "sendMessage('Hello!', '123')")["error"]["code"] == "CHANNEL_NOT_FOUND"


def test_javascript_chats_with_the_agent(xopc: Live) -> None:
    assert node(xopc, "chatWithAgent('What is 2+2?')")["reply"] == "echo: What is 2+2?"


def test_python_sends_a_message(xopc: Live) -> None:
    answer = python(xopc, PYTHON.replace("telegram", "webchat"))["send_message"]("Hello!", "123")

    assert answer == {"status": "ok", "message_id": answer["message_id"]}


def test_python_is_told_that_telegram_is_not_configured(xopc: Live) -> None:
    assert python(xopc)["send_message"]("Hello!", "123")["error"]["code"] == "CHANNEL_NOT_FOUND"


def test_python_chats(xopc: Live) -> None:
    assert python(xopc)["chat"]("What is 2+2?")["reply"] == "echo: What is 2+2?"


# --- the table of calls, each with its example ------------------------------------------------


def call(gateway: Live, method: str, path: str, body: Any = None) -> requests.Response:
    return requests.request(method, gateway.url + path, json=body, timeout=30)


def test_a_message_gets_its_reply(xopc: Live) -> None:
    body = {"channel": "webchat", "chat_id": "123456789", "content": "Hello and reply!"}
    answer = call(xopc, "POST", "/api/message/sync", body)

    assert (answer.status_code, answer.json()["status"], answer.json()["reply"]) == (
        200,
        "ok",
        "echo: Hello and reply!",
    )


def test_the_agent_answers_in_a_session(xopc: Live) -> None:
    answer = call(xopc, "POST", "/api/agent", {"message": "What is the weather?", "session": "default"}).json()

    assert (answer["status"], answer["reply"], answer["session"]) == ("ok", "echo: What is the weather?", "default")


def test_a_session_is_created_reused_listed_read_and_deleted(xopc: Live) -> None:
    made = call(xopc, "POST", "/api/sessions", {"chat_id": "42"}).json()["session"]
    again = call(xopc, "POST", "/api/sessions", {"chat_id": "42", "agentId": "main", "channel": "webchat"}).json()[
        "session"
    ]
    listed = [session["key"] for session in call(xopc, "GET", "/api/sessions").json()["sessions"]]
    path = f"/api/sessions/{made['key']}"
    shown = call(xopc, "GET", path).json()["session"]
    deleted = call(xopc, "DELETE", path)

    assert made["key"] == again["key"] == shown["key"] == "main:webchat:42"
    assert made["key"] in listed
    assert (deleted.status_code, deleted.json()["status"]) == (200, "ok")
    assert call(xopc, "GET", path).json()["error"]["code"] == "SESSION_NOT_FOUND"


def test_all_fields_of_a_session_are_optional(xopc: Live) -> None:
    session = call(xopc, "POST", "/api/sessions", {}).json()["session"]

    assert (session["agentId"], session["channel"]) == ("main", "webchat")


def test_a_webhook_calls_back(xopc: Live) -> None:
    body = b'{"event": "message", "data": {"chat_id": "42", "content": "Hello!"}}'
    headers = {"Content-Type": "application/json", **providers.generic(body, SECRET, int(time.time()))}
    answer = requests.post(xopc.url + "/api/webhook/ci", data=body, headers=headers, timeout=30)

    assert (answer.status_code, answer.json()["status"]) == (202, "ok")
    assert call(xopc, "GET", f"/api/tasks/{answer.json()['message_id']}").json()["task"]["session"] == "main:ci:42"


def test_a_cron_task_is_created_listed_triggered_toggled_and_deleted(xopc: Live) -> None:
    wanted = {"name": "inbox", "schedule": "0 9 * * 1-5", "prompt": "summarise my inbox"}
    job = call(xopc, "POST", "/api/cron/create", wanted).json()["job"]["id"]
    listed = [found["id"] for found in call(xopc, "GET", "/api/cron").json()["jobs"]]
    triggered = call(xopc, "POST", "/api/cron/trigger", {"job_id": job}).json()
    toggled = call(xopc, "POST", f"/api/cron/{job}/toggle").json()
    deleted = call(xopc, "DELETE", f"/api/cron/{job}")

    assert job in listed
    assert (triggered["status"], triggered["message"]) == ("ok", "Task triggered")
    assert (toggled["status"], toggled["enabled"]) == ("ok", False)
    assert (deleted.status_code, deleted.json()["status"]) == (200, "ok")


def test_an_unknown_cron_task_is_an_error(xopc: Live) -> None:
    answer = call(xopc, "POST", "/api/cron/trigger", {"job_id": "abc123"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "JOB_NOT_FOUND")


def test_a_webhook_without_a_secret_has_no_route(xopc: Live) -> None:
    answer = call(xopc, "POST", "/api/webhook/telegram", {"event": "message", "data": {}})

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "CHANNEL_NOT_FOUND")


def test_logs_need_a_token(guarded: Live) -> None:
    refused = requests.get(guarded.url + "/api/logs", timeout=30)
    answer = guarded.call("GET", "/api/logs?lines=20")

    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    assert [line for line in answer.body["lines"] if line["event"] == "gateway.ready"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/api/message", {"channel": "webchat", "chat_id": "1", "content": ""}, 400, "INVALID_REQUEST"),
        ("POST", "/api/message", {"channel": "irc", "chat_id": "1", "content": "hi"}, 404, "CHANNEL_NOT_FOUND"),
        ("GET", "/api/sessions/nothing", None, 404, "SESSION_NOT_FOUND"),
        ("POST", "/api/agent", {"message": "@@ fail on purpose"}, 502, "AGENT_ERROR"),
    ],
)
def test_errors_have_the_documented_shape_and_codes(
    xopc: Live, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = call(xopc, method, path, body)
    error = answer.json()["error"]

    assert (answer.status_code, error["code"]) == (status, code)
    assert error["message"]
    assert set(answer.json()) == {"error"}
