"""The step of the guide that chooses an agent: nothing is stored of one that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.setup import agent_step
from cli.setup.guide import Guide, Options
from cli.setup.prompts import DefaultAnswers
from gateway.errors import ConfigError


@pytest.mark.parametrize("tries", [False, True])
def test_a_server_that_cannot_be_used_leaves_nothing_behind(
    tries: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_step, "_survey", lambda *_: [])
    env = {"MOONGATE_HOME": str(tmp_path), "PATH": os.defpath, "OPENAI_API_KEY": "sk-of-this-shell"}
    options = Options(base_url="http://user:pw@127.0.0.1:9/v1", model="m", tries=tries)

    with pytest.raises(ConfigError, match="base_url"):
        agent_step.choose_agent(Guide(env, DefaultAnswers(), options))

    assert not (tmp_path / ".env").exists()
    assert not (tmp_path / "config.json").exists()
