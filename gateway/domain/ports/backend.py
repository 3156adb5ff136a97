"""What the engine needs from a backend, and what a backend must guarantee."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from gateway.domain.agent import Agent
from gateway.domain.budget import Budget
from gateway.domain.event import BackendEvent, Log, Notice
from gateway.domain.offer import Offer
from gateway.domain.permission import Answer, PermissionQuestion
from gateway.domain.question import AnswerContent, Question
from gateway.domain.run import FinishReason
from gateway.domain.session import Message, Role
from gateway.domain.transcript import write_recap


class SessionRef(Struct, frozen=True):
    """A backend's id of the conversation. The engine stores it and passes it to the next turn."""

    ref: str


class FullReply(Struct, frozen=True):
    """The whole answer, if it is not the same as the text that was streamed."""

    text: str


#: what a backend yields in a turn
TurnOutput = BackendEvent | SessionRef | FullReply | FinishReason


class AgentHealth(Struct, frozen=True, kw_only=True):
    """Whether an agent is able to answer now."""

    ok: bool
    version: str = ""
    #: what is wrong and how to fix it; or, if all is well, where the agent is
    detail: str = ""
    #: what a working agent seems to lack, such as a credential, and how to provide it
    missing: str = ""


class Abilities(Struct, frozen=True, kw_only=True):
    """What an agent can tell about its turns. None means that only its turns show it."""

    #: whether its turns report the tokens that they used
    tells_tokens: bool | None = None
    #: whether its turns report their cost
    tells_cost: bool | None = None

    def find_idle_limits(self, limits: Budget) -> tuple[str, ...]:
        """Return the names of the limits that can never hold, because nothing reports what they limit."""
        return tuple(
            name
            for name, limit, tells in (
                ("tokens", limits.tokens, self.tells_tokens),
                ("cost", limits.cost, self.tells_cost),
            )
            if limit is not None and tells is False
        )


async def deny_permission(question: PermissionQuestion) -> Answer:
    """Deny a permission: the answer when nobody can be asked."""
    return Answer.DENY


async def leave_unanswered(question: Question) -> AnswerContent | None:
    """Answer nothing: the answer to a question when nobody can be asked."""
    return None


#: estimated tokens of the transcript that an agent is given when it has lost its conversation
MAX_RECAP_TOKENS = 16_000


class RestartedTurn(NamedTuple):
    """A turn that begins a new conversation in place of one that the agent has lost."""

    #: the turn, without the lost conversation; its input tells the transcript
    turn: Turn
    #: what the backend yields about it, before anything else
    remark: Log


class Turn(Struct, frozen=True, kw_only=True):
    """One prompt to an agent, with all that a backend needs to know about it."""

    #: id of the run, and number of the attempt (from 1)
    run: str
    attempt: int
    #: number of the prompt in the run, from 1: a goal takes several rounds, each with a prompt
    round: int = 1
    agent: Agent
    input: str
    #: the model, by the name that the backend knows; None leaves the choice to the agent
    model: str | None
    #: key of the session
    session: str
    #: the last `SessionRef` that this backend yielded in this session
    session_ref: str | None
    #: absolute path of an existing directory; empty if the backend declares that it uses none
    workspace: str
    #: number of runs above this one; the agent's processes get it, and what they submit is one level deeper
    depth: int = 0
    #: returns the messages of this session so far, oldest first
    read_history: Callable[[], Awaitable[Sequence[Message]]]
    #: returns the answer to a permission request of the agent: from its policy, or from people within
    #: `permission_timeout`. A backend that no longer needs the answer cancels the call; the end of the turn does too.
    ask_permission: Callable[[PermissionQuestion], Awaitable[Answer]] = deny_permission
    #: returns the answers to a question of the agent, by the names of its fields; None if nobody answers: at once
    #: unless its policy is to ask people. Such calls can be cancelled, too.
    ask_question: Callable[[Question], Awaitable[AnswerContent | None]] = leave_unanswered

    async def restart_conversation(self, why: str, *, max_tokens: int = MAX_RECAP_TOKENS) -> RestartedTurn | None:
        """Return the turn for an agent that begins a new conversation; None if the session had none before.

        A backend whose agents keep their conversations calls it whenever it begins one: a conversation may be lost
        by the agent, or belong to an earlier backend of the agent.

        Args:
            why: what has become of the earlier conversation.
            max_tokens: tokens of the transcript, at most.
        """
        history = await self.read_history()
        if self.session_ref is None and not any(message.role is Role.ASSISTANT for message in history):
            return None
        recap = write_recap(history, self.input, max_tokens)
        told = f"the last {recap.turns} turns" if recap.left_out else "the transcript"
        given = f"is given {told}" if recap.turns else "there is no transcript to give it"
        said = f"{why.rstrip('.')}: the agent begins a new conversation, and {given}."
        remark = Log(level="warning", message=said, notice=Notice.SESSION_RESTARTED)
        return RestartedTurn(msgspec.structs.replace(self, input=recap.prompt, session_ref=None), remark)


class Backend(Protocol):
    """Drives all agents of one kind. The gateway opens it once, as an async context manager.

    `stream_turn` yields events while they happen, and ends when the answer is complete. It yields a `FinishReason`
    if a limit or a filter ended the answer. It raises `AgentError` when the agent fails. Closing the
    iterator cancels the turn: within two seconds the work has stopped and its processes are gone. It
    never waits forever for a dead agent, and never holds more than a bounded part of the agent's output
    in memory.
    """

    async def __aenter__(self) -> Backend: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def stream_turn(self, turn: Turn) -> AsyncGenerator[TurnOutput, None]: ...

    async def check_health(self, agent: Agent) -> AgentHealth: ...


@runtime_checkable
class Offering(Protocol):
    """A backend that knows what its agents offer their users to choose. A backend may be one."""

    def find_offer(self, agent: Agent) -> Offer | None:
        """Return what an agent has told that it offers; None if it has told nothing. It does not wait for the agent."""
        ...
