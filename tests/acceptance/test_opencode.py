"""The whole gateway with the real opencode and a scripted model: from the HTTP request to the agent's answer."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.live_gateway import Live
from harness.waiting import until_sync
from tests.support import opencode, opencode2
from tests.support.scripted_opencode2 import SCRIPTED_VERSION

pytestmark = pytest.mark.agents("opencode")


BASH = '[[tool bash {"command":"echo hi","description":"x"}]]'


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    """A scripted model in a separate process, for all tests of this module."""
    command = [sys.executable, "-m", "harness.scripted_model", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found[0]
        process.terminate()


@pytest.fixture(scope="module")
def gateway(model_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    home = tmp_path_factory.mktemp("gateway")
    tools = {
        "type": "local",
        "command": [sys.executable, "-m", "cli.main", "mcp"],
        "environment": {"MOONGATE_HOME": str(home / "state")},
        "timeout": 60_000,
    }
    asking = opencode.config(model_url) | {"permission": {"bash": "ask"}, "mcp": {"moongate": tools}}
    agents = [
        opencode.agent(model_url, home / "agent"),
        opencode.agent(model_url, home / "agent", id="careful", config=asking),
        opencode.agent(model_url, home / "agent", id="asks", config=asking, permissions="ask"),
        opencode.agent(model_url, home / "agent", id="hasty", config=asking, permissions="ask", permission_timeout=0.5),
        {"id": "parrot", "backend": "echo"},
    ]
    live = Live(home / "state", {"agents": {"default": "main", "list": agents}}).start()
    yield live
    live.close()


def ask(gateway: Live, message: str, session: str, **more: Any) -> Any:
    return gateway.call("POST", "/api/agent", {"message": message, "session": session, **more}, timeout=120)


def test_a_turn_is_answered_by_opencode(gateway: Live) -> None:
    answer = ask(gateway, "[[say Hello from the model]]", "turn")

    assert (answer.status, answer.body["reply"]) == (200, "Hello from the model")
    assert answer.body["usage"]["input"] > 0


def test_the_second_turn_of_a_session_remembers_the_first(gateway: Live) -> None:
    ask(gateway, "My name is Ada", "memory")

    assert ask(gateway, "[[recall]]", "memory").body["reply"].endswith("My name is Ada")


def test_a_tool_is_used_in_the_sessions_own_directory(gateway: Live) -> None:
    answer = ask(gateway, '[[tool bash {"command":"pwd > here && pwd","description":"look"}]]', "tool")

    assert "workspaces" in answer.body["reply"]
    events = gateway.call("GET", f"/api/tasks/{answer.body['run_id']}/events", headers={"Accept": "application/json"})
    kinds = [event["data"]["kind"] for event in events.body["events"]]
    assert kinds.index("tool") < kinds.index("tool_end") < kinds.index("end")


def test_an_agent_asks_another_one_with_the_gateways_tools(gateway: Live) -> None:
    said = '[[tool moongate_send_message {"message":"Polly?","agent":"parrot"}]]'
    answer = ask(gateway, said, "tools", agentId="careful")

    assert "echo: Polly?" in answer.body["reply"]
    assert gateway.call("GET", "/api/tasks?agent=parrot").body["tasks"][0]["source"] == "mcp"


def test_a_running_run_is_cancelled(gateway: Live) -> None:
    task = gateway.call("POST", "/api/tasks", {"input": "[[slow 600 100]]", "session": "cancelled"}).body["task"]
    until_sync(lambda: "text" in kinds_of(gateway, task["id"]))

    gateway.call("POST", f"/api/tasks/{task['id']}/cancel")

    until_sync(lambda: status_of(gateway, task["id"]) == "cancelled")
    assert ask(gateway, "[[say still here]]", "cancelled").body["reply"] == "still here"


def test_an_error_of_the_model_is_the_agents_error(gateway: Live) -> None:
    answer = ask(gateway, "[[error 401]]", "refused")

    assert (answer.status, answer.body["error"]["code"]) == (502, "AGENT_ERROR")
    assert answer.body["error"]["details"]["outcome"] == "agent_error"


def test_opencode_killed_in_a_turn_fails_that_run_only(gateway: Live) -> None:
    ask(gateway, "My name is Grace", "killed")
    task = gateway.call("POST", "/api/tasks", {"input": "[[hang]]", "session": "main:api:killed"}).body["task"]
    until_sync(lambda: status_of(gateway, task["id"]) == "running")

    for server in servers(gateway):
        os.kill(server.pid, signal.SIGKILL)

    until_sync(lambda: status_of(gateway, task["id"]) == "failed")
    assert ask(gateway, "[[recall]]", "killed").body["reply"].endswith("My name is Grace")


def test_a_permission_request_is_denied_by_policy(gateway: Live) -> None:
    answer = ask(gateway, BASH, "asks", agentId="careful")

    assert answer.body.get("reply") != "hi"
    run = answer.body.get("run_id") or answer.body["error"]["details"]["run_id"]
    events = gateway.call("GET", f"/api/tasks/{run}/events", headers={"Accept": "application/json"}).body["events"]
    asked = [event["data"] for event in events if event["data"]["kind"] == "permission"]
    assert [(one["action"].split()[0].rstrip(":"), one["answer"]) for one in asked] == [("bash", "deny")]


def test_a_permission_request_is_allowed_by_people(gateway: Live) -> None:
    body = {"input": BASH, "session": "given", "agentId": "asks"}
    task = gateway.call("POST", "/api/tasks", body).body["task"]["id"]
    path = f"/api/tasks/{task}/permissions"
    until_sync(lambda: gateway.call("GET", path).body["permissions"])

    answer = gateway.call("POST", f"{path}/p1", {"answer": "allow"})

    assert (answer.status, answer.body["permission"]["action"].split()[0]) == (200, "bash:")
    until_sync(lambda: status_of(gateway, task) == "succeeded")
    assert "hi" in gateway.call("GET", f"/api/tasks/{task}").body["task"]["result"]


def test_a_question_of_opencode_is_answered_by_people(gateway: Live) -> None:
    asked = '{"questions":[{"question":"Which?","header":"h","options":[{"label":"Red","description":"warm"}] }] }'
    body = {"input": f"[[tool question {asked}]]", "session": "question", "agentId": "asks"}
    task = gateway.call("POST", "/api/tasks", body).body["task"]["id"]
    path = f"/api/tasks/{task}/permissions"
    until_sync(lambda: gateway.call("GET", path).body["permissions"])

    answer = gateway.call("POST", f"{path}/p1", {"answer": "answer", "content": {"1": "Red"}})

    assert (answer.status, answer.body["permission"]["question"]["message"]) == (200, "Which?")
    until_sync(lambda: status_of(gateway, task) == "succeeded")
    assert '"Which?"="Red"' in gateway.call("GET", f"/api/tasks/{task}").body["task"]["result"]


def test_a_permission_request_that_nobody_answers_in_time_is_denied(gateway: Live) -> None:
    answer = ask(gateway, BASH, "hasty", agentId="hasty")

    assert "Denied by the user, or nobody answered" in answer.body["reply"]
    found = gateway.call("GET", f"/api/tasks/{answer.body['run_id']}/permissions").body["permissions"]
    assert [(one["answer"], one["reason"]) for one in found] == [("deny", "deadline")]


def test_xcclaws_api_and_its_health_work_with_opencode_2(
    model_url: str, live: Callable[..., Live], tmp_path: Path
) -> None:
    gateway = live(config={"agents": {"list": [opencode2.agent(model_url, tmp_path / "agent")]}}).start()

    task = gateway.call("POST", "/api/xcclaw/task", {"type": "ephemeral", "prompt": "[[say hello]]"}).body["id"]
    executed = gateway.call("POST", f"/api/xcclaw/task/{task}/execute", timeout=120).body

    assert (executed["status"], executed["result"]) == ("completed", "hello")
    health = gateway.call("GET", "/api/xcclaw/health").body
    assert health["opencode"] == {"status": "ok", "version": SCRIPTED_VERSION}


def status_of(gateway: Live, task: str) -> str:
    return str(gateway.call("GET", f"/api/tasks/{task}").body["task"]["status"])


def kinds_of(gateway: Live, task: str) -> list[str]:
    answer = gateway.call("GET", f"/api/tasks/{task}/events", headers={"Accept": "application/json"})
    return [event["data"]["kind"] for event in answer.body["events"]]


def servers(gateway: Live) -> list[psutil.Process]:
    """Return the opencode servers of this gateway."""
    assert gateway.process is not None
    children = psutil.Process(gateway.process.pid).children(recursive=True)
    return [child for child in children if "opencode" in child.name() and "serve" in child.cmdline()]
