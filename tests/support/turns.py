"""Turns for a backend, and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.domain.agent import Agent
from gateway.domain.event import Log, Text, Thinking, Usage
from gateway.domain.ports.backend import Backend, FullReply, SessionRef, Turn, TurnOutput
from gateway.domain.run import FinishReason
from gateway.domain.session import Message, Role
from tests.support.people import People


def message(role: Role, content: str, run: str = "earlier") -> Message:
    return Message(role=role, content=content, at=0, run=run)


def exchange(asked: str, answered: str, run: str) -> list[Message]:
    """Return the transcript messages of a turn that succeeded."""
    return [message(Role.USER, asked, run), message(Role.ASSISTANT, answered, run)]


def turn(
    agent: Agent,
    text: str,
    *,
    workspace: object = "/",
    history: Sequence[Message] = (),
    model: str | None = None,
    session_ref: str | None = None,
    run: str = "run-1",
    people: People | None = None,
) -> Turn:
    async def transcript() -> Sequence[Message]:
        return history

    given = Turn(
        run=run,
        attempt=1,
        agent=agent,
        input=text,
        model=model,
        session=f"{agent.id}:test:chat",
        session_ref=session_ref,
        workspace=str(workspace),
        read_history=transcript,
    )
    if people is None:
        return given
    return msgspec.structs.replace(given, ask_permission=people.ask, ask_question=people.ask_question)


@dataclass(slots=True)
class Heard:
    """The answers of a backend in one turn."""

    said: list[TurnOutput] = field(default_factory=list)

    def of(self, kind: type[Any]) -> list[Any]:
        return [said for said in self.said if isinstance(said, kind)]

    @property
    def answer(self) -> str:
        replies = self.of(FullReply)
        return replies[-1].text if replies else "".join(said.delta for said in self.of(Text))

    @property
    def thought(self) -> str:
        return "".join(said.delta for said in self.of(Thinking))

    @property
    def usage(self) -> Usage:
        return sum(self.of(Usage), Usage())

    @property
    def logs(self) -> list[str]:
        return [said.message for said in self.of(Log)]

    @property
    def finish(self) -> FinishReason:
        return ([FinishReason.STOP, *self.of(FinishReason)])[-1]

    @property
    def session_ref(self) -> str | None:
        refs = self.of(SessionRef)
        return refs[-1].ref if refs else None


async def listen(backend: Backend, given: Turn, heard: Heard | None = None) -> Heard:
    """Stream a turn to its end; answers that come before an error are in `heard`."""
    heard = heard if heard is not None else Heard()
    async with aclosing(backend.stream_turn(given)) as stream:  # type: ignore[type-var]
        async for said in stream:
            heard.said.append(said)
    return heard
