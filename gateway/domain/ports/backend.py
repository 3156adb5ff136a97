"""What the engine asks of a backend, and what a backend promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.domain.agent import Agent
from gateway.domain.event import Said
from gateway.domain.permission import Answer, Wanted
from gateway.domain.session import Message


class SessionRef(Struct, frozen=True):
    """A backend's own name for the conversation: kept, and handed back with the next turn."""

    ref: str


class Reply(Struct, frozen=True):
    """The whole answer, where it is not simply all the text that was streamed."""

    text: str


class Health(Struct, frozen=True, kw_only=True):
    """Whether an agent could answer now."""

    ok: bool
    version: str = ""
    #: what is wrong and what to do about it, or where it was found
    detail: str = ""
    #: what it seems to lack though it is there, such as a credential, and what to do about it
    missing: str = ""


async def deny(wanted: Wanted) -> Answer:
    """Answer for those who are not there."""
    return Answer.DENY


class Turn(Struct, frozen=True, kw_only=True):
    """One prompt to an agent, with all that a backend may need to know."""

    #: id of the run, and which attempt this is (from 1)
    run: str
    attempt: int
    agent: Agent
    input: str
    #: the model to ask for, in the backend's own words; None leaves it to the agent
    model: str | None
    #: key of the session
    session: str
    #: what this backend last yielded as `SessionRef` in this session
    session_ref: str | None
    #: absolute path of an existing directory
    workspace: str
    #: how many runs stand above this one; its processes are told, so that what they ask is one deeper
    depth: int = 0
    #: reads what was said before in this session, oldest first
    history: Callable[[], Awaitable[Sequence[Message]]]
    #: has a permission request of the agent answered by its policy, or by people, who are told of it; that takes
    #: `permission_timeout` at the most. Whoever needs no answer any more cancels it, and so does the end of the turn.
    ask: Callable[[Wanted], Awaitable[Answer]] = deny


class Backend(Protocol):
    """Drives all agents of one kind. Opened once as an async context manager.

    `prompt` streams what happens as it comes and ends when the answer is complete. It raises
    `AgentError` when the agent fails. Closing the iterator cancels the turn: within two seconds
    the work has stopped and its processes are gone. It never waits for ever for a dead agent, and
    never holds more than a bounded part of what the agent writes.
    """

    async def __aenter__(self) -> Backend: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def prompt(self, turn: Turn) -> AsyncGenerator[Said | SessionRef | Reply, None]: ...

    async def health(self, agent: Agent) -> Health: ...
