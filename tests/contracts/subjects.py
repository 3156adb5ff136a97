"""The backends that must keep the contract."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar

import psutil

from gateway.backends import echo
from gateway.backends.command import options as command
from gateway.backends.command.rules import Rule, UsageRule
from gateway.backends.openai import options as openai
from gateway.domain.agent import Agent
from harness.scripted_model import serve_model
from harness.scripted_server import ScriptedServer
from tests.contracts.backends import Subject
from tests.support import scripted_agent
from tests.support.attachments import Handed, read_requests
from tests.support.turns import Heard


class Echo(Subject):
    """The built-in agent, scripted."""

    @asynccontextmanager
    async def agent(self, directory: Path) -> AsyncIterator[Agent]:
        yield Agent(id="main", backend="echo", options=echo.Options(script=True))

    def say(self, text: str) -> str:
        return f"@@ say {text}"

    def slow(self, count: int, milliseconds: int) -> str:
        return f"@@ words {count} {milliseconds / 1000}"

    def hang(self) -> str:
        return "@@ hang"

    def fail(self) -> str:
        return "@@ fail told to fail"

    def recall(self) -> str:
        return "@@ history"

    def look(self) -> str:
        return "@@ read"


class Modelled(Subject):
    """An agent that uses a scripted model, which does what the prompt says."""

    #: messages that the model gets before the first prompt of each session
    preface: int = 0

    #: serves the model that it uses
    serve: ClassVar[Callable[..., AbstractAsyncContextManager[ScriptedServer]]] = staticmethod(serve_model)

    def __init__(self) -> None:
        self._model: ScriptedServer | None = None

    @property
    def model(self) -> ScriptedServer:
        assert self._model is not None
        return self._model

    def made(self, url: str, directory: Path) -> Agent:
        """Return an agent whose model is at that URL."""
        raise NotImplementedError

    @asynccontextmanager
    async def agent(self, directory: Path) -> AsyncIterator[Agent]:
        async with self.serve() as self._model:
            yield self.made(self._model.base_url, directory)

    def environ(self) -> Mapping[str, str]:
        return {"PATH": os.environ["PATH"]}

    def fail(self) -> str:
        return "[[error 400]]"

    def recalled(self, answer: str) -> int:
        return super().recalled(answer) - self.preface

    def handed(self, heard: Heard) -> Handed:
        """Return all that the model was given so far: each test has files of its own."""
        return read_requests(request["body"] for request in self.model.requests)

    def working(self) -> bool:
        return self.model.counters.active > 0


class OpenAI(Modelled):
    """A scripted model that speaks OpenAI's protocol."""

    dies = "[[midfail]]"
    hostile: ClassVar = {
        "not UTF-8": "[[bytes]]",
        "not JSON": "[[garbage]]",
        "a line of 10 MB": "[[line 10]]",
        "a flood of 200 MB": "[[flood 200]]",
        "an end without an end": "[[stop]]",
    }

    def made(self, url: str, directory: Path) -> Agent:
        # The whole flood must be read: this tests the reader, not the limit.
        options = openai.Options(base_url=url, retries=0, max_output=1 << 40)
        return Agent(id="main", backend="openai", model="scripted", options=options)


class _Command(Subject):
    """A separate program for each turn."""

    killable = True
    dies = "[[die]]"
    stubborn = "[[stubborn]]"
    hostile: ClassVar = {
        "not UTF-8": "[[bytes]]",
        "a line of 10 MB": "[[line 10]]",
        "a flood of 200 MB": "[[flood 200]]",
        "a flood of 200 MB on standard error": "[[noise 200]]",
        "a closed standard output": "[[mute]]",
    }
    options: ClassVar[command.Options]

    def __init__(self) -> None:
        self._directory = Path()

    @asynccontextmanager
    async def agent(self, directory: Path) -> AsyncIterator[Agent]:
        self._directory = directory
        yield Agent(id="main", backend="command", options=self.options)

    def working(self) -> bool:
        """Return whether any process works in one of the test's directories."""
        return any(_directory_of(process).is_relative_to(self._directory) for process in psutil.process_iter())


def _directory_of(process: psutil.Process) -> Path:
    try:
        return Path(process.cwd())
    except psutil.Error:  # it has ended, or is a zombie
        return Path("/")


_PROGRAM = [sys.executable, "-I", "-S", scripted_agent.__file__]


class CommandText(_Command):
    """A program that writes its answer as text."""

    counts = False
    remembers = False
    options = command.Options(command=_PROGRAM, max_output=1 << 40)


class CommandLines(_Command):
    """A program that writes JSON lines, and has sessions."""

    options = command.Options(
        command=[*_PROGRAM, "--jsonl"],
        output=command.OutputFormat.JSONL,
        resume_args=["--session", "{session}"],
        max_output=1 << 40,
        map=[
            Rule(
                session="session",
                text="text",
                error="error",
                usage=UsageRule(input="usage.input", output="usage.output"),
            )
        ],
    )
