"""A channel context without an engine: it keeps the submitted messages, and its notes are in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from gateway.domain.event import Event
from gateway.domain.file import File
from gateway.domain.inbound import InboundMessage
from gateway.domain.permission import Answer, PermissionRequest
from gateway.domain.ports.channel import ChatStatus
from gateway.domain.question import AnswerContent
from gateway.domain.run import Run, RunSpec, Source, Status


class MemoryChannelContext:
    """A channel context in memory."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.submitted: list[InboundMessage] = []
        self.moves: list[tuple[str, str]] = []
        #: where the contents of files are, by the file's id
        self.contents: dict[str, Path] = {}

    async def submit_message(self, inbound: InboundMessage) -> Run:
        self.submitted.append(inbound)
        spec = RunSpec(source=Source.MESSAGE, agent="main", session="main:x:y", input=inbound.content)
        return Run(id=inbound.id, seq=1, spec=spec, status=Status.QUEUED, created=0)

    async def find_run(self, label: str, value: str) -> Run | None:
        return None

    async def change_input(self, run: str, content: str) -> bool:
        return False

    async def cancel_runs(self, chat: str) -> int:
        return 0

    async def answer_permission(
        self,
        chat: str,
        answer: Answer,
        which: tuple[str, str] | None = None,
        content: AnswerContent | str | None = None,
    ) -> PermissionRequest | None:
        return None

    async def find_question(self, chat: str, which: tuple[str, str]) -> PermissionRequest | None:
        return None

    async def read_status(self, chat: str) -> ChatStatus:
        return ChatStatus(session=f"main:x:{chat}", agent="main", running_runs=0, queued_runs=0)

    async def start_new_session(self, chat: str) -> None: ...

    async def is_paired(self, chat: str) -> bool:
        return False

    async def redeem_code(self, code: str, chat: str, title: str) -> bool:
        return False

    async def rename_chat(self, chat: str, to: str) -> None:
        self.moves.append((chat, to))

    async def read_note(self, name: str) -> str | None:
        return self.notes.get(name)

    async def write_note(self, name: str, value: str, *, days: float | None = None) -> None:
        self.notes[name] = value

    async def list_notes(self, prefix: str) -> Mapping[str, str]:
        return {name: value for name, value in sorted(self.notes.items()) if name.startswith(prefix)}

    async def save_notes(
        self, changes: Mapping[str, str | None], *, days: float | None = None, only_if: str | None = None
    ) -> bool:
        if only_if is not None and only_if not in self.notes:
            return False
        self.notes.update({name: value for name, value in changes.items() if value is not None})
        for name in changes:
            if changes[name] is None:
                self.notes.pop(name, None)
        return True

    async def fetch_content(self, file: File) -> Path:
        return self.contents[file.id]

    async def watch_run(self, run: str) -> AsyncGenerator[Event, Any]:
        return
        yield
