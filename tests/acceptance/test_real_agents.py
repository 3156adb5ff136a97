"""The whole gateway with each agent that people have and a scripted model: restarts, crashes, people, budgets."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.live_gateway import Live
from harness.waiting import PATIENCE, until_sync
from tests.contracts.real_agents import REAL_AGENTS, Ability, Claude, Codex, Gemini, Opencode, RealAgent
from tests.support.thorough import choose_cases

AGENTS = [pytest.param(one, marks=pytest.mark.agents(*one.needs), id=type(one).__name__) for one in REAL_AGENTS]
#: agents that remember in a way of their own; the others keep sessions as one of these does
OWN_MEMORIES = [place for place, one in enumerate(REAL_AGENTS) if type(one) in (Opencode, Claude, Codex, Gemini)]


@pytest.fixture(scope="module", params=AGENTS)
def subject(request: pytest.FixtureRequest) -> RealAgent:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def gateway(subject: RealAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway with the agent, for all of the agent's tests; the agent's model is a process of its own."""
    command = [sys.executable, "-m", subject.serve.__module__, "0"]
    home = tmp_path_factory.mktemp(type(subject).__name__)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as model:
        assert model.stdout is not None
        found = re.search(r"http://\S+", model.stdout.readline())
        assert found is not None
        entry = subject.entry(found[0], home / "agent")
        agents = [entry, {**entry, "id": "hasty", "permissions": "ask", "permission_timeout": 0.5}]
        if Ability.TOKENS not in subject.cannot:
            agents.append({**entry, "id": "thrifty", "budget": {"tokens": 1}})
        live = Live(home / "state", {"agents": {"default": "main", "list": agents}}).start()
        yield live
        live.close()
        model.terminate()


def ask(gateway: Live, message: str, session: str, agent: str = "main") -> Any:
    body = {"message": message, "session": session, "agentId": agent}
    return gateway.call("POST", "/api/agent", body, timeout=3 * PATIENCE)


def task_of(gateway: Live, task: str) -> dict[str, Any]:
    return dict(gateway.call("GET", f"/api/tasks/{task}").body["task"])


def kinds_of(gateway: Live, task: str) -> list[str]:
    answer = gateway.call("GET", f"/api/tasks/{task}/events", headers={"Accept": "application/json"})
    return [event["data"]["kind"] for event in answer.body["events"]]


def agent_processes(gateway: Live) -> list[psutil.Process]:
    """Return all processes below the gateway's own."""
    own = {one.pid for one in gateway.generations}
    return [
        process for pid in own for process in psutil.Process(pid).children(recursive=True) if process.pid not in own
    ]


def is_at_work(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def check_memory(gateway: Live, subject: RealAgent) -> None:
    """Check that the agent knows the first message: by its own memory, or from the transcript if it may lose that."""
    body = ask(gateway, subject.remember(), "memory").body
    assert "My name is Ada" in body["reply"]
    assert not body.get("session_restarted") or Ability.MEMORY in subject.limits


def test_a_command_that_nobody_allows_in_time_does_not_run(gateway: Live, subject: RealAgent) -> None:
    answer = ask(gateway, subject.shell("touch made"), "nobody", "hasty")

    run = answer.body.get("run_id") or answer.body["error"]["details"]["run_id"]
    [request] = gateway.call("GET", f"/api/tasks/{run}/permissions").body["permissions"]
    assert "touch made" in request["action"]
    assert (request["answer"], request["reason"]) == ("deny", "deadline")
    assert not list((gateway.home / "workspaces").glob("*/made"))


def test_a_budget_of_tokens_holds(gateway: Live, subject: RealAgent) -> None:
    if Ability.TOKENS in subject.cannot:
        pytest.skip(f"{subject.title} tells no tokens: {subject.cannot[Ability.TOKENS]}")

    first = ask(gateway, subject.say("one"), "budget", "thrifty")
    second = ask(gateway, subject.say("two"), "budget", "thrifty")

    assert (first.status, first.body["reply"]) == (200, "one")
    assert first.body["usage"]["input"] > 0
    assert (second.status, second.body["error"]["code"]) == (429, "OVER_BUDGET")


@pytest.mark.parametrize("subject", choose_cases(AGENTS, OWN_MEMORIES), indirect=True)
def test_a_session_remembers_after_a_restart_and_after_a_crash(gateway: Live, subject: RealAgent) -> None:
    assert ask(gateway, "My name is Ada", "memory").status == 200

    gateway.stop()
    gateway.start()

    check_memory(gateway, subject)
    task = gateway.call("POST", "/api/tasks", {"input": subject.slow(60, 100), "session": "memory"}).body["task"]["id"]
    until_sync(lambda: "text" in kinds_of(gateway, task), "the agent answers")
    before = agent_processes(gateway)

    gateway.kill()
    gateway.start()

    assert before
    until_sync(lambda: not any(map(is_at_work, before)), "no process of the crashed gateway's agent is left")
    until_sync(lambda: task_of(gateway, task)["status"] == "succeeded", "the second attempt has answered")
    assert task_of(gateway, task)["attempt"] == 2
    check_memory(gateway, subject)
