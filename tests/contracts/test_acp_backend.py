"""ACP's agents keep the contract: a scripted one that misbehaves on demand, and the real opencode."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from gateway.backends.acp.options import Options
from gateway.domain.agent import Agent
from tests.contracts.backends import BackendContract, Subject
from tests.support import opencode as real
from tests.support import scripted_acp
from tests.support.scripted_model import ScriptedModel, serving
from tests.support.waiting import PATIENCE


class Scripted(Subject):
    """A program of ours that is told what to do."""

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
        """Tell whether a process that lives has said that it is at work."""
        return any(psutil.pid_exists(int(file.name.partition("-")[2])) for file in self._directory.glob("*/busy-*"))


class Opencode(Subject):
    """The real program, with a scripted model behind it."""

    together = 2  # each has a process of its own, which takes seconds to start
    patience = 3 * PATIENCE  # and the first one in a new home starts alone
    hostile: ClassVar = {"a line of 4 MB": "[[line 4]]"}

    def __init__(self) -> None:
        self._model: ScriptedModel | None = None

    @asynccontextmanager
    async def agent(self, directory: Path) -> AsyncIterator[Agent]:
        async with serving() as self._model:
            home = real.home(directory / "home", self._model.base_url)
            program = real.find()
            assert program is not None
            options = Options(command=[program, "acp"], idle_processes=2)
            yield Agent(id="main", backend="acp", options=options, env=real.environment(home))

    def environ(self) -> Mapping[str, str]:
        return {"PATH": os.environ["PATH"]}

    def fail(self) -> str:
        return "[[error 400]]"

    def recalled(self, answer: str) -> int:
        return int(answer.split()[0]) - 1  # without the system prompt

    def working(self) -> bool:
        assert self._model is not None
        return self._model.counters.active > 0


@pytest.mark.skipif(sys.platform == "win32", reason="the scripted agent uses signals and fork")
class TestScripted(BackendContract):
    subject = Scripted()


@pytest.mark.opencode
@pytest.mark.skipif(real.find() is None, reason=real.ABSENT)
class TestOpencode(BackendContract):
    subject = Opencode()
