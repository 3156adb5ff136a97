"""`gateway worker`, and a worker in the background, as the page about scale has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until_sync
from tests.support import postgres

pytestmark = pytest.mark.slow


class Hosts(NamedTuple):
    """A gateway that only answers, and the shell of another host of its fleet."""

    gate: Live
    hand: Shell

    @property
    def members(self) -> list[tuple[Any, ...]]:
        nodes = self.gate.call("GET", "/api/fleet").body["fleet"]["nodes"]
        return [(one["host"], one["role"], one["agents"], one["slots"]) for one in nodes if one["alive"]]

    def submit(self, agent: str) -> str:
        answer = self.gate.call("POST", "/api/tasks", {"input": "hello", "agentId": agent})
        assert answer.status == 202, answer
        return str(answer.body["task"]["id"])

    def status(self, task: str) -> str:
        return str(self.gate.call("GET", f"/api/tasks/{task}").body["task"]["status"])


@pytest.fixture
def hosts(live: Callable[..., Live]) -> Iterator[Hosts]:
    store = {"url": postgres.shared_server().url(postgres.create_database())}
    agents = {"list": [{"id": name, "backend": "echo"} for name in ("main", "coder")]}
    gate = live("gate", config={"store": store, "agents": agents, "fleet": {"host": "gate", "slots": 0}})
    hand = live("hand", config={"store": store, "agents": agents, "fleet": {"host": "hand"}})
    hand.home.chmod(0o700)
    gate.start()
    yield Hosts(gate, shell := Shell(hand.env, hand.home))
    shell("stop")


def test_a_worker_in_the_foreground_takes_the_runs_of_its_agents_until_ctrl_c(hosts: Hosts) -> None:
    with hosts.hand.terminal("worker", "--agents", "main", "--concurrency", "3") as at:
        until_sync(lambda: ("hand", "worker", ["main"], 3) in hosts.members, "it is a member")
        other, task = hosts.submit("coder"), hosts.submit("main")
        until_sync(lambda: hosts.status(task) == "succeeded", "its task is done")
        assert hosts.status(other) == "queued"
        at.press("\x03")

        assert at.end() == 0

    assert "It works on what the gateways of its fleet accept. See the fleet:" in at.shown
    assert "Try it" not in at.shown
    assert [host for host, *_ in hosts.members] == ["gate"]


def test_a_worker_in_the_background_works_until_it_is_stopped(hosts: Hosts) -> None:
    started = hosts.hand("start", "--role", "worker")
    assert started.code == 0, started
    assert ("hand", "worker", ["main", "coder"], 64) in hosts.members
    task = hosts.submit("coder")
    until_sync(lambda: hosts.status(task) == "succeeded", "its task is done")
    assert hosts.hand("restart").code == 0
    until_sync(
        lambda: [member[:2] for member in hosts.members] == [("gate", "gateway"), ("hand", "worker")],
        "the one before has left",
    )

    assert hosts.hand("stop").code == 0

    assert [host for host, *_ in hosts.members] == ["gate"]


def test_an_agent_that_there_is_not_is_named(hosts: Hosts) -> None:
    told = hosts.hand("worker", "--agents", "main,codr")

    assert told.code == 78
    assert 'fleet.agents: there is no enabled agent "codr"; did you mean "coder"?' in told.err
