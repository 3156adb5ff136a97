"""opencode keeps the contract over version 2 of its API, in the early form that version 1 of the program serves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from gateway.backends.opencode.options import Options
from gateway.domain.agent import Agent
from tests.contracts.backends import BackendContract
from tests.contracts.subjects import Modelled
from tests.support import installed, opencode2
from tests.support import opencode as real


class Opencode2(Modelled):
    """The real program, with a scripted model."""

    preface = 1  # the system prompt
    hostile: ClassVar = {}  # it is measured in another process, which drives this program over version 1

    @asynccontextmanager
    async def agent(self, directory: Path) -> AsyncIterator[Agent]:
        with opencode2.ask_for_version_2():
            async with super().agent(directory) as agent:
                yield agent

    def made(self, url: str, directory: Path) -> Agent:
        home = real.home(directory / "home", url)  # this form of the API reads no configuration but the files
        options = Options(command=[installed.program("opencode")])
        return Agent(id="main", backend="opencode", options=options, env=real.environment(home))


@pytest.mark.agents("opencode")
class TestOpencode2(BackendContract):
    subject = Opencode2()
