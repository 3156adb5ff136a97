"""A gateway without a config: it keeps the agent of its first start, and says when that agent is gone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live
from tests.support import scripted_acp

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="the agent is a shell script")]

#: a PATH without any agent, as cron has it
BARE_PATH = "/usr/bin:/bin"
#: where no Ollama listens
NO_AGENTS = {"agents": {"list": []}}


@pytest.fixture
def with_agent(tmp_path: Path) -> str:
    """A PATH with an agent that speaks ACP."""
    program = tmp_path / "programs" / "gemini"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{scripted_acp.__file__}" --modes default "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:{BARE_PATH}"


@pytest.fixture
def gateway(live: Callable[..., Live]) -> tuple[Live, Shell]:
    made = live(config=NO_AGENTS, env={"PATH": BARE_PATH})
    made.home.chmod(0o700)
    return made, Shell(made.env, made.home)


@pytest.fixture
def configured(live: Callable[..., Live]) -> tuple[Live, Shell]:
    made = live()
    return made, Shell(made.env, made.home)


def test_an_agent_that_is_gone_after_the_first_start_fails_its_runs_and_degrades_the_gateway(
    gateway: tuple[Live, Shell], with_agent: str
) -> None:
    live, shell = gateway
    first = shell("start", env={"PATH": with_agent})
    assert "Agent: main: acp" in first.out
    assert "found on this machine" in first.out
    assert shell("agent", "[[say fine]]").out == "fine\n"
    assert live.health["status"] == "healthy"
    shell("stop")

    again = shell("start")
    asked = shell("agent", "important question")
    shown = shell("status")

    assert (again.code, "cannot answer: cannot start 'gemini'" in again.out) == (0, True)
    assert "Install it: npm install -g @google/gemini-cli. No agent is configured" in again.out
    assert "the gateway was started with another PATH" in again.out
    assert "or give its path" not in again.out
    assert (asked.code, asked.out) == (1, "")
    assert "cannot start 'gemini': there is no such program on PATH" in asked.err
    assert live.health["status"] == "degraded"
    assert live.health["agent"]["origin"] == "found"
    assert live.health["agent"]["ok"] is False
    assert "agent: main: acp, which cannot answer" in shown.out
    assert "gateway agents detect" in shown.out


def test_where_no_agent_was_found_each_answer_says_that_it_is_an_echo(gateway: tuple[Live, Shell]) -> None:
    live, shell = gateway

    started = shell("start", "--json").json
    asked = shell("agent", "important question")
    shown = shell("status")
    examined = {one["check"]: one for one in shell("doctor", "--json").json["findings"]}

    assert examined["agent main"]["level"] == "warning"
    assert "no agent was found on this machine" in examined["agent main"]["cause"]
    assert (started["agent"]["backend"], started["agent"]["origin"]) == ("echo", "fallback")
    assert asked.out.startswith("echo: important question\n\n(This is Moongate's built-in echo")
    assert "Agent: main: echo, which only repeats messages: no agent was found." in shown.out
    assert live.health["status"] == "healthy"


def test_detect_looks_again_and_a_restart_takes_what_it_finds(gateway: tuple[Live, Shell], with_agent: str) -> None:
    _, shell = gateway
    shell("start")
    nothing = shell("agents", "detect")
    found = shell("agents", "detect", "--json", env={"PATH": with_agent}).json
    again = shell("agents", "detect", env={"PATH": with_agent})

    restarted = shell("restart")

    assert (nothing.code, "no agent was found on this machine" in nothing.err) == (1, True)
    entry = {"id": "main", "backend": "acp", "preset": "gemini"}
    candidates = {one["name"]: one for one in found.pop("candidates")}
    assert found == {"agent": entry, "before": None, "changed": True}
    assert candidates["gemini"]["place"] == f"{with_agent.partition(':')[0]}/gemini"
    assert (candidates["gemini"]["entry"], candidates["claude"]["place"]) == (entry, None)
    assert again.out.splitlines() == ["Found: backend=acp preset=gemini", "It was the agent already."]
    assert "Agent: main: acp" in restarted.out  # the gateway's own PATH lacks it, and the command says so
    assert "cannot answer" in restarted.out


def test_detect_repairs_a_memory_that_cannot_be_read(gateway: tuple[Live, Shell], with_agent: str) -> None:
    live, shell = gateway
    (live.home / "found-agent.json").write_text("{")
    refused = shell("start", env={"PATH": with_agent})

    assert shell("agents", "detect", env={"PATH": with_agent}).code == 0

    assert (refused.code, "found-agent.json" in refused.err) == (78, True)
    assert shell("start", env={"PATH": with_agent}).code == 0


def test_detect_is_refused_where_the_config_names_the_agents(configured: tuple[Live, Shell]) -> None:
    live, shell = configured

    refused = shell("agents", "detect")

    assert refused.code == 1
    assert refused.err.split() == [
        *"the config file names the agents, so none needs to be found. Edit agents.list:".split(),
        str(live.config),
    ]


def test_agents_are_listed_and_chosen_by_name(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = gateway
    directory = tmp_path / "programs"
    directory.mkdir()
    codex = "@agentclientprotocol/codex-acp 2.6.0"
    for name, says in (("opencode", "1.18.34"), ("codex-acp", codex), ("claude", "2.1")):
        (directory / name).write_text(f"#!/bin/sh\necho {says}\n")
        (directory / name).chmod(0o755)
    env = {"PATH": f"{directory}:{BARE_PATH}"}

    listed = shell("agents", "detect", "--list", env=env)
    untouched = (live.home / "found-agent.json").exists()
    best = shell("agents", "detect", "--json", env=env).json
    chosen = shell("agents", "detect", "codex", "--json", env=env).json
    after = {one["name"]: one for one in shell("agents", "detect", "--list", "--json", env=env).json["candidates"]}
    refused = [shell("agents", "detect", name, env=env) for name in ("claude", "coddex")]

    lines = {line.split()[0]: line.split() for line in listed.out.splitlines()}
    assert (lines["opencode"][1:3], lines["codex"][2]) == ([str(directory / "opencode"), "1.18.34"], "2.6.0")
    assert lines["gemini"][1:3] == ["not", "here"]
    assert not untouched
    assert (best["agent"]["backend"], chosen["agent"]["preset"], chosen["before"]) == (
        "opencode",
        "codex",
        best["agent"],
    )
    assert [name for name, one in after.items() if one["in_force"]] == ["codex"]
    assert [result.code for result in refused] == [1, 1]
    assert f"{directory / 'claude'} is here, but Moongate needs another program for it." in refused[0].err
    assert "npm install -g @agentclientprotocol/claude-agent-acp" in refused[0].err
    assert 'did you mean "codex"' in refused[1].err


def test_agents_are_listed_where_the_config_names_them(configured: tuple[Live, Shell]) -> None:
    _, shell = configured

    names = [one["name"] for one in shell("agents", "detect", "--list", "--json").json["candidates"]]

    assert {"opencode", "claude", "codex", "gemini", "openai", "ollama"} <= set(names)
