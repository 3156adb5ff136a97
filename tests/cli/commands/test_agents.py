"""`gateway agents`."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.command_line import Shell

AGENT = {
    "id",
    "slug",
    "name",
    "base",
    "system_prompt",
    "queued",
    "assigned",
    "created_at",
    "updated_at",
    "backend",
    "model",
    "status",
    "current_tasks",
    "max_concurrent",
    "is_enabled",
    "is_default",
    "timeout",
    "budget",
    "tells_tokens",
    "tells_cost",
    "accepts",
}


def test_the_agents_are_listed(shell: Shell) -> None:
    header, row = shell("agents", "list").out.splitlines()

    assert header.split() == ["AGENT", "BACKEND", "MODEL", "STATUS", "AT", "WORK", "WAITING"]
    assert row.split()[:3] == ["main", "(default)", "echo"]


def test_an_agent_is_asked_for_its_health(shell: Shell) -> None:
    shown = shell("agents", "show", "main").out.splitlines()

    assert "Health    ok (built in: repeats its input)" in shown
    assert "Timeout   30m" in shown
    assert "Files     audio, image, other, pdf" in shown


def test_json_has_the_documented_shapes(shell: Shell) -> None:
    listed, shown = shell("agents", "list", "--json").json, shell("agents", "show", "main", "--json").json

    assert [set(agent) for agent in listed["agents"]] == [AGENT]
    assert (set(shown), set(shown["health"])) == (
        {"agent", "health", "models", "modes"},
        {"ok", "version", "detail", "missing"},
    )


def test_an_unknown_agent_exits_1(shell: Shell) -> None:
    result = shell("agents", "show", "nobody")

    assert (result.code, result.err) == (1, "there is no agent 'nobody'. There are: main.\n")


def test_an_agent_is_made_changed_and_removed(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "prompt").write_text("Review.")
    added = shell("agents", "add", "mine", "--prompt-file", str(tmp_path / "prompt"), "--model", "m", "--json").json
    edited = shell("agents", "edit", "mine", "--max-concurrent", "3", "--disable", "--json").json
    shown = shell("agents", "show", "mine").out
    removed = shell("agents", "remove", "mine", "--json").json

    assert (set(added), set(added["agent"])) == ({"status", "agent"}, AGENT)
    assert (added["agent"]["system_prompt"], added["agent"]["model"]) == ("Review.", "m")
    assert (edited["agent"]["status"], edited["agent"]["max_concurrent"]) == ("disabled", 3)
    assert f"Id        {added['agent']['id']}" in shown
    assert removed == {"status": "ok", "failed": 0}


def test_a_disabled_agent_is_a_failure_and_not_wrong_usage(shell: Shell) -> None:
    assert shell("agents", "add", "asleep").code == 0
    assert shell("agents", "edit", "asleep", "--disable").code == 0

    asked, added = shell("agent", "--agent", "asleep", "hi"), shell("tasks", "add", "--agent", "asleep", "hi")
    assert shell("agents", "remove", "asleep").code == 0

    assert (asked.code, added.code) == (1, 1)
    assert "the agent 'asleep' is disabled" in asked.err


def test_what_was_done_is_said_in_words(shell: Shell) -> None:
    assert (
        shell("agents", "add", "mine").out == 'Made mine, based on main. Try it: gateway agent --agent mine "Hello"\n'
    )
    assert shell("agents", "edit", "mine", "--name", "M").out == "Changed mine.\n"
    assert shell("agents", "remove", "mine").out == "Removed mine.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["edit", "main"], 2, "Nothing to change"),
        (["edit", "main", "--name", "x"], 1, "is in the config file"),
        (["remove", "main"], 1, "is in the config file"),
        (["add", "main"], 1, "Choose another slug."),
        (["add", "x", "--base", "nobody"], 2, "no agent 'nobody' in the config file"),
        (["add", "x", "--prompt", "a", "--prompt-file", "-"], 2, "not both"),
    ],
)
def test_what_cannot_be_done_says_why(shell: Shell, arguments: list[str], code: int, said: str) -> None:
    result = shell("agents", *arguments)

    assert (result.code, said in result.err) == (code, True), result.err
