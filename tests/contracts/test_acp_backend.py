"""An agent that speaks ACP keeps the contract: a scripted one, which misbehaves on demand."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from gateway.backends.acp.options import Options
from gateway.domain.agent import Agent
from gateway.process import identity
from tests.contracts.backends import BackendContract, Subject
from tests.support import scripted_acp


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
        pids = [int(file.name.partition("-")[2]) for file in self._directory.glob("*/busy-*")]
        return any(identity.identify_process(pid) is not None for pid in pids)


@pytest.mark.skipif(sys.platform == "win32", reason="the scripted agent uses signals and fork")
class TestScripted(BackendContract):
    subject = Scripted()
