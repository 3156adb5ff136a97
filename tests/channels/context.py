"""A channel context without an engine: it keeps the submitted messages, and its notes are in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from gateway.domain.event import Event
from gateway.domain.inbound import Inbound
from gateway.domain.permission import Answer, PermissionRequest
from gateway.domain.ports.channel import Standing
from gateway.domain.run import Run, RunSpec, Source, Status


class MemoryDesk:
    """A channel context in memory."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.submitted: list[Inbound] = []
        self.moves: list[tuple[str, str]] = []

    async def submit(self, inbound: Inbound) -> Run:
        self.submitted.append(inbound)
        spec = RunSpec(source=Source.MESSAGE, agent="main", session="main:x:y", input=inbound.content)
        return Run(id=inbound.id, seq=1, spec=spec, status=Status.QUEUED, created=0)

    async def stop(self, chat: str) -> int:
        return 0

    async def permit(self, chat: str, answer: Answer, which: tuple[str, str] | None = None) -> PermissionRequest | None:
        return None

    async def standing(self, chat: str) -> Standing:
        return Standing(session=f"main:x:{chat}", agent="main", running=0, queued=0)

    async def begin_anew(self, chat: str) -> None: ...

    async def knows(self, chat: str) -> bool:
        return False

    async def redeem(self, code: str, chat: str, title: str) -> bool:
        return False

    async def moved(self, chat: str, to: str) -> None:
        self.moves.append((chat, to))

    async def note(self, name: str) -> str | None:
        return self.notes.get(name)

    async def keep(self, name: str, value: str, *, days: float | None = None) -> None:
        self.notes[name] = value

    async def watch(self, run: str) -> AsyncGenerator[Event, Any]:
        return
        yield
