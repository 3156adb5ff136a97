"""Agents that speak ACP keep the contract: a scripted one that misbehaves on demand, and the real opencode."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from gateway.backends.acp.options import Options
from gateway.backends.acp.presets import AgentPreset
from gateway.domain.agent import Agent
from gateway.domain.event import Permission
from gateway.errors import AgentError
from harness.waiting import PATIENCE
from tests.contracts.backends import BackendContract, Stage, Subject
from tests.contracts.subjects import Modelled
from tests.support import codex, installed, scripted_acp
from tests.support import opencode as real
from tests.support.turns import Heard


class Scripted(Subject):
    """A scripted program that does what the prompt says."""

    killable = True
    dies = "[[die]]"
    stubborn = "[[stubborn]]"
    hostile: ClassVar = {
        "not UTF-8": "[[bytes]]",
        "a line of 10 MB": "[[line 10]]",
        "a line of 60 MB": "[[line 60]]",
        "a flood of 40 MB": "[[flood 40]]",
        "a flood of 200 MB on standard error": "[[noise 200]]",
        "a closed standard output": "[[mute]]",
    }

    def __init__(self) -> None:
        self._directory = Path()

    @asynccontextmanager
    async def agent(self, directory: Path) -> AsyncIterator[Agent]:
        self._directory = directory
        options = Options(command=[sys.executable, "-I", "-S", scripted_acp.__file__])
        yield Agent(id="main", backend="acp", options=options)

    def working(self) -> bool:
        """Return whether a living process has reported that it is working."""
        return any(psutil.pid_exists(int(file.name.partition("-")[2])) for file in self._directory.glob("*/busy-*"))


class Opencode(Modelled):
    """The real program, with a scripted model."""

    preface = 1  # the system prompt
    killable = True
    together = 2  # each one has its own process, which takes seconds to start
    patience = 3 * PATIENCE  # the first one in a new home directory starts alone
    hostile: ClassVar = {"a line of 4 MB": "[[line 4]]"}

    def made(self, url: str, directory: Path) -> Agent:
        home = real.home(directory / "home", url)
        options = Options(command=[installed.program("opencode"), "acp"], idle_processes=2)
        return Agent(id="main", backend="acp", options=options, env=real.environment(home))


class Codex(Modelled):
    """The real codex-acp, with a scripted model."""

    killable = True
    counts = False  # it reports how full its context is, not what a turn used
    together = 2
    dies = "[[midfail]]"
    hostile: ClassVar = {
        "not UTF-8": "[[bytes]]",
        "not JSON": "[[garbage]]",
        "a line of 4 MB": "[[line 4]]",
        "a flood of 20 MB": "[[flood 20]]",
        "an end without an end": "[[stop]]",
    }

    def made(self, url: str, directory: Path) -> Agent:
        env = codex.environment(directory / "home", url)
        options = Options(preset=AgentPreset.CODEX, command=[installed.program("codex-acp-zed")], idle_processes=2)
        return Agent(id="main", backend="acp", options=options, env=env)


@pytest.mark.skipif(sys.platform == "win32", reason="the scripted agent uses signals and fork")
class TestScripted(BackendContract):
    subject = Scripted()


@pytest.mark.agents("opencode")
class TestOpencode(BackendContract):
    subject = Opencode()


@pytest.mark.agents("codex-acp-zed")
class TestCodex(BackendContract):
    subject = Codex()

    async def test_a_permission_request_is_denied_by_policy(self, stage: Stage, session: str) -> None:
        wanted = {"cmd": "touch made", "sandbox_permissions": "require_escalated", "justification": "May I?"}

        heard = Heard()
        with pytest.raises(AgentError, match=r"not allowed: touch made") as raised:
            await stage.ask(f"[[tool exec_command {json.dumps(wanted)}]]", session, heard)

        [asked] = heard.of(Permission)
        assert asked.answer == "reject_once"
        assert "permissions" in str(raised.value.remedy)
        assert not (stage.directory / session / "made").exists()
        assert (await stage.ask("[[say next]]", session)).answer == "next"
