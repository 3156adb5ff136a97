"""`opencode run`, the preset of the command backend, keeps the contract: a process of the real program a turn."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.backends.command.backend import Options
from gateway.backends.command.presets import Preset
from gateway.domain.agent import Agent
from tests.contracts.backends import BackendContract, Stage, Subject
from tests.support import opencode as real
from tests.support.scripted_model import ScriptedModel, serving
from tests.support.waiting import PATIENCE


class OpencodeRun(Subject):
    """The real program, with a scripted model behind it."""

    streams = False
    together = 2
    patience = 3 * PATIENCE  # the first turn in a new home sets it up

    def __init__(self) -> None:
        self._model: ScriptedModel | None = None

    @asynccontextmanager
    async def agent(self, directory: Path) -> AsyncIterator[Agent]:
        async with serving() as self._model:
            home = real.home(directory / "home", self._model.base_url)
            options = Options(preset=Preset.OPENCODE_RUN, command=[str(real.find())])
            yield Agent(id="main", backend="command", options=options, env=real.environment(home))

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
class TestOpencodeRun(BackendContract):
    subject = OpencodeRun()

    # A turn takes seconds: what these two ask for is shown by the next.
    test_the_answer_is_what_the_agent_said = None
    test_usage_is_told = None

    @pytest.mark.parametrize("text", ["-x --help -- a\0b " + "y" * 200_000 + " $(touch hacked) `touch hacked`"])
    async def test_a_prompt_is_data(self, stage: Stage, session: str, text: str) -> None:
        heard = await stage.ask(text, session)

        assert heard.answer == "echo: " + text[-400:]
        assert not list(stage.directory.rglob("hacked"))
        assert heard.usage.input > 0
        assert heard.usage.output > 0
