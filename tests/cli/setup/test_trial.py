"""One real question to an agent, without a gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from cli.setup import trial
from gateway import config
from gateway.assembly.checks import check_settings
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.errors import GatewayError
from tests.support.acp import SCRIPTED_ACP_COMMAND


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Makes the settings and the agent of an entry of `agents.list`."""

    def make_agent(**entry: Any) -> tuple[Agent, Config]:
        env = {"MOONGATE_HOME": str(tmp_path), "PATH": os.defpath}
        settings = config.load(env)
        agents = msgspec.structs.replace(settings.agents, entries=[{"id": "main", **entry}])
        settings = msgspec.structs.replace(settings, agents=agents)
        return check_settings(settings, env)[0], settings

    return make_agent


@pytest.mark.parametrize(
    "entry",
    [
        {"backend": "echo"},
        {"backend": "command", "command": ["cat"]},
        {"backend": "acp", "command": SCRIPTED_ACP_COMMAND},
    ],
    ids=lambda entry: entry["backend"],
)
def test_an_agent_that_works_answers(make: Any, entry: dict[str, Any]) -> None:
    agent, settings = make(**entry)
    before = psutil.Process().children()  # such as the browser of other tests

    assert trial.ask_agent(agent, settings, {"PATH": os.defpath})
    assert not set(psutil.Process().children()) - set(before)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["sh", "-c", "echo please sign in >&2; exit 3"], "please sign in"),
        (["true"], "it answered nothing"),
        (["/no/such/program"], "/no/such/program"),
        (["sleep", "60"], "it has not answered within"),
    ],
)
def test_an_agent_that_does_not_says_why_and_leaves_no_process(
    make: Any, monkeypatch: pytest.MonkeyPatch, command: list[str], why: str
) -> None:
    agent, settings = make(backend="command", command=command)
    before = psutil.Process().children()
    if "sleep" in command:
        monkeypatch.setattr(trial, "TRIAL_TIMEOUT_SECONDS", 0.5)

    with pytest.raises(GatewayError, match=why):
        trial.ask_agent(agent, settings, {"PATH": os.defpath})

    assert not set(psutil.Process().children()) - set(before)
