"""opencode keeps the contract, driven over its server, in both versions of its API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from gateway.backends.opencode.options import Options
from gateway.domain.agent import Agent
from tests.contracts.backends import BackendContract
from tests.contracts.subjects import Modelled
from tests.support import installed, opencode2
from tests.support import opencode as real


class Opencode(Modelled):
    """The real program, with a scripted model."""

    preface = 1  # the system prompt
    # When a model's stream breaks or ends without a reason, opencode repeats the request forever.
    hostile: ClassVar = {
        "a line of 4 MB": "[[line 4]]",
        "a flood of 40 MB": "[[flood 40]]",
    }

    def made(self, url: str, directory: Path) -> Agent:
        entry = real.agent(url, directory / "home")
        options = {name: entry.pop(name) for name in ("command", "config")}
        return msgspec.convert(entry | {"options": msgspec.convert(options, Options)}, Agent)


@pytest.mark.agents("opencode")
class TestOpencode(BackendContract):
    subject = Opencode()


class Opencode2(Opencode):
    """The real program, over the early form of version 2 of the API that it serves, with a scripted model."""

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
