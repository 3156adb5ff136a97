"""opencode keeps the contract, driven over its server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from gateway.backends.opencode.backend import Options
from gateway.domain.agent import Agent
from tests.contracts.backends import BackendContract, Subject
from tests.support import opencode as real
from tests.support.scripted_model import ScriptedModel, serving


class Opencode(Subject):
    """The real program, with a scripted model behind it."""

    # When a model's stream is cut or ends without a reason, opencode asks it again, for ever.
    hostile: ClassVar = {
        "a line of 4 MB": "[[line 4]]",
        "a flood of 40 MB": "[[flood 40]]",
    }

    def __init__(self) -> None:
        self._model: ScriptedModel | None = None

    @asynccontextmanager
    async def agent(self, directory: Path) -> AsyncIterator[Agent]:
        async with serving() as self._model:
            entry = real.agent(self._model.base_url, directory / "home")
            options = {name: entry.pop(name) for name in ("command", "config")}
            yield msgspec.convert(entry | {"options": msgspec.convert(options, Options)}, Agent)

    def environ(self) -> Mapping[str, str]:
        return {"PATH": os.environ["PATH"]}

    def fail(self) -> str:
        return "[[error 400]]"

    def recalled(self, answer: str) -> int:
        return int(answer.split()[0]) - 1  # without the system prompt

    def working(self) -> bool:
        assert self._model is not None
        return self._model.counters.active > 0


@pytest.mark.opencode
@pytest.mark.skipif(real.find() is None, reason=real.ABSENT)
class TestOpencode(BackendContract):
    subject = Opencode()
