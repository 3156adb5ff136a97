"""An agent does not end the gateway that it works for, by whatever command; it may restart it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="the agent is a shell")]

GATEWAY = f'"{sys.executable}" -m cli.main'


@pytest.fixture
def gateway(live: Callable[..., Live], tmp_path: Path) -> Live:
    """A gateway whose agent is a shell, with the state directory that this agent's commands look for."""
    agents = {"list": [{"id": "main", "backend": "command", "command": ["sh"]}]}
    made = live(".moongate", config={"agents": agents}, env={"HOME": str(tmp_path)})
    made.home.chmod(0o700)
    return made.start()


@pytest.mark.parametrize(
    "command",
    [
        "stop",
        "stop --force",
        "restart --hard",
        "restart --force",
        "install",
        "uninstall",
        "run --force",
    ],
)
def test_a_command_that_would_end_the_gateway_is_refused_in_a_task_of_it(gateway: Live, command: str) -> None:
    before = gateway.health["instance"]

    said = gateway.call("POST", "/api/agent", {"message": f'{GATEWAY} {command} 2>&1; echo "code $?"'}).body["reply"]

    assert said.splitlines()[-1] == "code 1"
    assert "this comes from a task of the gateway itself" in said
    assert "A person can do it in a terminal: gateway " in said
    assert (gateway.health["instance"], gateway.health["generation"]) == (before, 1)


@pytest.mark.parametrize(
    "detached",
    [
        "setsid -w {}",
        "env -u GATEWAY_CHILD_OF {}",
        # its parent has ended: only the mark says where it comes from
        "( ( {} >said 2>&1; : >over ) & ); until [ -e over ]; do sleep 0.05; done; cat said",
    ],
)
def test_a_task_is_known_however_its_command_is_started(gateway: Live, detached: str) -> None:
    said = gateway.call("POST", "/api/agent", {"message": detached.format(f"{GATEWAY} stop") + " 2>&1; true"}).body[
        "reply"
    ]

    assert "this comes from a task of the gateway itself" in said
    assert gateway.health["status"] == "healthy"


def test_a_task_may_restart_the_gateway(gateway: Live) -> None:
    said = gateway.call("POST", "/api/agent", {"message": f'{GATEWAY} restart 2>&1; echo "code $?"'}).body

    assert said["reply"].splitlines()[-1] == "code 0"
    assert gateway.health["generation"] == 2
    (run,) = gateway.call("GET", "/api/tasks").body["tasks"]
    assert (run["status"], run["attempt"]) == ("succeeded", 1)


def test_a_task_may_not_stop_the_gateway_over_http(gateway: Live) -> None:
    refused = gateway.call("POST", "/api/gateway/stop", {}, headers={"X-Moongate-Depth": "0"})

    assert (refused.status, refused.body["error"]["code"]) == (409, "CONFLICT")
    assert gateway.health["status"] == "healthy"


def test_a_person_may_stop_a_gateway_that_has_a_task(gateway: Live, tmp_path: Path) -> None:
    gateway.call("POST", "/api/tasks", {"input": "sleep 600"})

    stopped = Shell(gateway.env, tmp_path)("stop", "--timeout", "0")

    assert stopped.code == 0
