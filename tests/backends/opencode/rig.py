"""An opencode backend for tests: the real program, offline, with a scripted model behind it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil

from gateway.backends import BackendResources
from gateway.backends.opencode.backend import OpencodeBackend
from gateway.backends.opencode.connection import ServerConnection
from gateway.backends.opencode.options import Options
from gateway.domain.agent import Agent
from gateway.domain.event import Text
from gateway.domain.ports.backend import FullReply, SessionRef, TurnOutput
from gateway.domain.session import Message
from gateway.errors import AgentError
from gateway.process.child import Children
from gateway.process.scratch import ScratchSpace
from harness.scripted_model import ScriptedModel
from harness.waiting import PATIENCE
from tests.support import opencode as real
from tests.support.attachments import FileDesk, attach_all
from tests.support.ledger import MemoryLedger
from tests.support.people import People
from tests.support.turns import turn

GATEWAY_SECRET = "token-of-the-gateway"
GATEWAY_ENVIRON = {
    "PATH": os.environ["PATH"],
    "MOONGATE_TOKEN": GATEWAY_SECRET,
    "OPENCODE_TEST_PASSWORD": "of a server",
}


@dataclass
class Answered:
    """What a turn yielded."""

    said: list[TurnOutput] = field(default_factory=list)
    #: how it failed, if it did
    error: AgentError | None = None

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.said if isinstance(one, kind)]

    @property
    def text(self) -> str:
        return "".join(one.delta for one in self.of(Text))

    @property
    def reply(self) -> str:
        [reply] = self.of(FullReply)
        assert isinstance(reply, FullReply)
        return reply.text

    @property
    def ref(self) -> str:
        [ref] = self.of(SessionRef)
        assert isinstance(ref, SessionRef)
        return ref.ref


@dataclass
class Rig:
    """A backend, the model behind it, and an agent of it."""

    backend: OpencodeBackend
    model: ScriptedModel
    agent: Agent
    ledger: MemoryLedger
    directory: Path
    count: int = 0
    people: People = field(default_factory=People)
    history: Sequence[Message] = ()

    def but(self, *, options: dict[str, Any] | None = None, **changes: Any) -> Rig:
        """Return the same with another agent."""
        given = self.agent.options
        new = msgspec.structs.replace(given, **options) if options else given
        agent = msgspec.structs.replace(self.agent, options=new, **changes)
        return Rig(self.backend, self.model, agent, self.ledger, self.directory / f"but{time.monotonic_ns()}")

    @property
    def desk(self) -> FileDesk:
        return FileDesk(self.directory / "files")

    def workspace(self) -> Path:
        self.count += 1
        path = self.directory / f"work{self.count}"
        path.mkdir(parents=True)
        return path

    def turn(
        self,
        prompt: str,
        workspace: Path,
        ref: str | None = None,
        model: str | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> AsyncGenerator[TurnOutput, None]:
        given = turn(
            self.agent,
            prompt,
            workspace=workspace,
            history=self.history,
            model=model,
            session_ref=ref,
            people=self.people,
        )
        return self.backend.stream_turn(self.desk.attach_to(given, attach_all(files or {})))

    async def ask(
        self,
        prompt: str,
        workspace: Path | None = None,
        ref: str | None = None,
        model: str | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Answered:
        """Take a whole turn."""
        answered = Answered()
        turn = self.turn(prompt, workspace or self.workspace(), ref, model, files)
        try:
            async with asyncio.timeout(2 * PATIENCE), aclosing(turn) as said:
                async for one in said:
                    answered.said.append(one)
        except AgentError as error:
            answered.error = error
        return answered


@asynccontextmanager
async def rigged(directory: Path, model: ScriptedModel, **options: Any) -> AsyncIterator[Rig]:
    """Open a backend with an agent for a scripted model."""
    entry = real.agent(model.base_url, directory / "home")
    given = {"command": entry.pop("command"), "config": entry.pop("config")}
    agent = msgspec.convert(entry, Agent)
    agent = msgspec.structs.replace(agent, options=msgspec.convert(given | options, Options))
    ledger = MemoryLedger()
    children = Children(ledger, GATEWAY_ENVIRON, ScratchSpace(directory / "scratch"))
    async with OpencodeBackend(
        BackendResources(children=children, environ=GATEWAY_ENVIRON, directory=directory / "own")
    ) as backend:
        yield Rig(backend, model, agent, ledger, directory)
    assert not ledger.alive(), "nothing outlives the backend"
    assert not list((directory / "scratch").glob("*")), "what a server unpacked goes with it"


def find_commands(word: str) -> list[psutil.Process]:
    """Return the processes that have this word in their command line."""
    return [p for p in psutil.process_iter(["cmdline"]) if word in " ".join(p.info["cmdline"] or [])]


def present(rig: Rig) -> ServerConnection:
    """Return the connection to the server that is there."""
    here = rig.backend._find_server(rig.agent).live_connection()
    assert here is not None
    return here


def pid_of_server(rig: Rig) -> int:
    child = present(rig)._child
    assert child is not None
    return child.pid
