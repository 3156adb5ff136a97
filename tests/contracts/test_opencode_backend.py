"""opencode keeps the contract, driven over its server."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from gateway.backends.opencode.options import Options
from gateway.domain.agent import Agent
from tests.contracts.backends import BackendContract
from tests.contracts.subjects import Modelled
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
