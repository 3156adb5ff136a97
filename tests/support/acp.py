"""An ACP backend with an agent for tests: the scripted one, or a real one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from gateway.backends import BackendResources
from gateway.backends.acp.backend import AcpBackend
from gateway.backends.acp.options import Options
from gateway.domain.agent import Agent
from gateway.domain.event import Text
from gateway.domain.ports.backend import SessionRef, TurnOutput
from gateway.domain.session import Message
from gateway.process.child import Children
from tests.support import scripted_acp
from tests.support.attachments import FileDesk, attach_all
from tests.support.ledger import MemoryLedger
from tests.support.people import People
from tests.support.turns import turn

SCRIPTED_ACP_COMMAND = [sys.executable, "-I", "-S", scripted_acp.__file__]


class Rig:
    """An open backend and an agent of it."""

    def __init__(self, directory: Path) -> None:
        self.ledger = MemoryLedger()
        self.workspace = directory / "work"
        self.workspace.mkdir()
        self.directory = directory
        self.stack = AsyncExitStack()
        self.agent = Agent(id="main", backend="acp", options=Options(command=SCRIPTED_ACP_COMMAND))
        self.people = People()
        self.history: Sequence[Message] = ()

    async def open(self) -> None:
        environ = {"PATH": "/usr/bin:/bin", "SCRIPTED_KEY": "k"}
        tools = BackendResources(
            children=Children(self.ledger, environ), environ=environ, directory=self.directory / "backend"
        )
        self.backend = await self.stack.enter_async_context(AcpBackend(tools))

    async def again(self) -> None:
        """Close the backend, and open another one: as a restart of the gateway does."""
        await self.stack.aclose()
        await self.open()

    def but(self, *arguments: str, **changes: Any) -> None:
        options = {name: changes.pop(name) for name in tuple(changes) if name in Options.__struct_fields__}
        given = msgspec.structs.replace(self.agent.options, command=[*SCRIPTED_ACP_COMMAND, *arguments], **options)
        self.agent = msgspec.structs.replace(self.agent, options=given, **changes)

    async def ask(
        self,
        prompt: str,
        ref: str | None = None,
        model: str | None = None,
        said: list[TurnOutput] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> list[TurnOutput]:
        """Stream a turn with these files to its end; what came before an error is in `said`."""
        said = said if said is not None else []
        given = turn(
            self.agent,
            prompt,
            workspace=self.workspace,
            history=self.history,
            model=model,
            session_ref=ref,
            people=self.people,
        )
        if files:
            given = FileDesk(self.directory / "files").attach_to(given, attach_all(files))
        async for one in self.backend.stream_turn(given):
            said.append(one)
        return said

    @property
    def chosen(self) -> str:
        """What was set last of the agent."""
        return (self.workspace / "chosen").read_text()


def text(said: list[Any]) -> str:
    return "".join(one.delta for one in said if isinstance(one, Text))


def of(said: list[Any], kind: type[Any]) -> list[Any]:
    return [one for one in said if isinstance(one, kind)]


def ref(said: list[Any]) -> str:
    return str(of(said, SessionRef)[0].ref)


def after(rig: Rig, shell: str) -> None:
    """Run this in a shell before the agent."""
    rig.agent = msgspec.structs.replace(
        rig.agent, options=Options(command=["sh", "-c", f'{shell} exec "$@"', "sh", *SCRIPTED_ACP_COMMAND])
    )
