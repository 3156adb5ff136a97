"""`gateway agents`."""

from __future__ import annotations

from tests.cli.shell import Shell

AGENT = {
    "id",
    "backend",
    "model",
    "status",
    "current_tasks",
    "max_concurrent",
    "is_enabled",
    "is_default",
    "timeout",
}


def test_the_agents_are_listed(shell: Shell) -> None:
    header, row = shell("agents", "list").out.splitlines()

    assert header.split() == ["AGENT", "BACKEND", "MODEL", "STATUS", "AT", "WORK"]
    assert row.split()[:3] == ["main", "(default)", "echo"]


def test_an_agent_is_asked_for_its_health(shell: Shell) -> None:
    shown = shell("agents", "show", "main").out.splitlines()

    assert "Health    ok (built in: repeats what it is told)" in shown
    assert "Timeout   30m" in shown


def test_json_has_the_documented_shapes(shell: Shell) -> None:
    listed, shown = shell("agents", "list", "--json").json, shell("agents", "show", "main", "--json").json

    assert [set(agent) for agent in listed["agents"]] == [AGENT]
    assert (set(shown), set(shown["health"])) == ({"agent", "health"}, {"ok", "version", "detail"})


def test_an_unknown_agent_exits_1(shell: Shell) -> None:
    result = shell("agents", "show", "nobody")

    assert (result.code, result.err) == (1, "there is no agent 'nobody'. There are: main.\n")
