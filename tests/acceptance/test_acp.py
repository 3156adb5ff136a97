"""The whole gateway with agents that speak ACP: permissions that people give, and what a crash leaves."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until_sync
from tests.support import scripted_acp

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX process groups")]

AGENT = {"backend": "acp", "command": [sys.executable, "-I", "-S", scripted_acp.__file__], "permissions": "ask"}
CONFIG = {
    "agents": {
        "default": "main",
        "list": [
            {"id": "main", "permission_timeout": 600, **AGENT},
            {"id": "hasty", "permission_timeout": 0.2, **AGENT},
        ],
    }
}


@pytest.fixture
def gateway(live: Callable[..., Live]) -> Live:
    made = live(config=CONFIG)
    made.home.chmod(0o700)
    return made.start()


def submit(gateway: Live, text: str, session: str = "one", **more: Any) -> str:
    answer = gateway.call("POST", "/api/tasks", {"input": text, "session": session, **more})
    assert answer.status == 202
    return str(answer.body["task"]["id"])


def asked(gateway: Live, task: str) -> list[dict[str, Any]]:
    """Return the permission requests of a task, oldest first."""
    found = gateway.call("GET", f"/api/tasks/{task}/permissions").body["permissions"]
    return list(reversed(found))


def ended(gateway: Live, task: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def is_over() -> bool:
        found.update(gateway.call("GET", f"/api/tasks/{task}").body["task"])
        return found["finished_at"] is not None

    until_sync(is_over, f"the task {task} has ended")
    return found


def group(place: Path) -> set[psutil.Process]:
    """Return the process of the agent that works in the only workspace, and all processes that it started."""
    leaders = {int(file.name.partition("-")[2]) for file in place.glob("workspaces/*/busy-*")}
    return {process for process in psutil.process_iter() if _group(process.pid) in leaders}


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def test_a_permission_request_is_answered_from_the_command_line(gateway: Live) -> None:
    shell = Shell(gateway.env, gateway.home)
    task = submit(gateway, "[[ask rm -rf build]]")
    until_sync(lambda: asked(gateway, task), "it asks")

    answered = shell("tasks", "answer", task, "p1", "allow")

    assert answered == (0, f"Told {task} to allow: rm -rf build\n", "")
    assert ended(gateway, task)["result"] == "allow_once"


def test_what_an_agent_writes_is_watched_while_its_model_fails(gateway: Live) -> None:
    shell = Shell(gateway.env, gateway.home)
    task = submit(gateway, "[[retry 503 2 1000]]")

    with shell.terminal("tasks", "watch", task) as at:
        at.wait_for("the model's server answers 503: authentication_failed (failed try 2)")

    gateway.call("POST", f"/api/tasks/{task}/cancel")
    assert ended(gateway, task)["status"] == "cancelled"


def test_an_unanswered_request_is_denied_at_the_deadline(gateway: Live) -> None:
    task = submit(gateway, "[[ask rm -rf build]]", agentId="hasty")

    assert ended(gateway, task)["result"] == "reject_once"
    [request] = asked(gateway, task)
    assert (request["answer"], request["reason"]) == ("deny", "deadline")


def test_after_a_crash_an_agent_asks_again(gateway: Live) -> None:
    task = submit(gateway, "[[ask rm -rf build]]")
    until_sync(lambda: asked(gateway, task), "it asks")

    gateway.kill()
    gateway.start()

    until_sync(lambda: len(asked(gateway, task)) == 2, "it asks again")
    before, now = asked(gateway, task)
    assert (before["reason"], now["answer"]) == ("withdrawn", None)
    path = f"/api/tasks/{task}/permissions"
    assert gateway.call("POST", f"{path}/p1", {"answer": "allow"}).status == 409
    assert gateway.call("POST", f"{path}/p2", {"answer": "deny"}).status == 200
    assert (ended(gateway, task)["result"], ended(gateway, task)["attempt"]) == ("reject_once", 2)


def test_after_a_crash_no_agent_process_is_left_and_the_session_continues(gateway: Live) -> None:
    ended(gateway, submit(gateway, "one"))
    task = submit(gateway, "[[stubborn]]")
    place = gateway.home
    until_sync(lambda: len(group(place)) == 2, "the agent and its child are at work")
    left = group(place)

    gateway.kill()
    assert any(process.is_running() for process in left), "a crash leaves processes, or this shows nothing"
    gateway.start()

    until_sync(lambda: not any(map(_at_work, left)), "no process of the crashed gateway's agent is left")
    until_sync(lambda: group(place) - left, "the second attempt is at work")
    gateway.call("POST", f"/api/tasks/{task}/cancel")
    assert ended(gateway, task)["status"] == "cancelled"
    after = submit(gateway, "[[history]]")
    assert ended(gateway, after)["result"] == "3 prompts before"


def _at_work(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
