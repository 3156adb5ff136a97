"""What the engine needs from a backend, and what a backend must guarantee."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from gateway.domain.agent import Agent
from gateway.domain.budget import Budget
from gateway.domain.event import BackendEvent, Log, Notice
from gateway.domain.file import File, describe_file, describe_size
from gateway.domain.offer import Offer
from gateway.domain.permission import Answer, PermissionQuestion
from gateway.domain.question import AnswerContent, Question
from gateway.domain.run import FinishReason
from gateway.domain.session import Message, Role
from gateway.domain.transcript import write_recap
from gateway.errors import AgentError


class SessionRef(Struct, frozen=True):
    """A backend's id of the conversation. The engine stores it and passes it to the next turn."""

    ref: str


class FullReply(Struct, frozen=True):
    """The whole answer, if it is not the same as the text that was streamed."""

    text: str


class NewFile(Struct, frozen=True, kw_only=True):
    """A file that the agent made. The engine stores it, and tells of it."""

    #: any name; a safe one is made of it
    name: str
    #: its type, as the agent says; what the content shows counts more
    media_type: str
    content: bytes


#: what a backend yields in a turn
TurnOutput = BackendEvent | SessionRef | FullReply | FinishReason | NewFile


class AgentHealth(Struct, frozen=True, kw_only=True):
    """Whether an agent is able to answer now."""

    ok: bool
    version: str = ""
    #: what is wrong and how to fix it; or, if all is well, where the agent is
    detail: str = ""
    #: what a working agent seems to lack, such as a credential, and how to provide it
    missing: str = ""


class FileKind(StrEnum):
    """What a file is to an agent."""

    #: a picture that models read: PNG, JPEG, GIF or WebP
    IMAGE = "image"
    AUDIO = "audio"
    PDF = "pdf"
    #: anything else
    OTHER = "other"

    @classmethod
    def classify(cls, file: File) -> FileKind:
        """Return the kind of a file. An empty file is only a file."""
        if not file.size:
            return cls.OTHER
        if file.is_picture:
            return cls.IMAGE
        if file.media_type == "application/pdf":
            return cls.PDF
        return cls.AUDIO if file.media_type.startswith("audio/") else cls.OTHER


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


async def read_no_file(file: File) -> bytes:
    """Find no file: the content where there is none to read."""
    raise AgentError(f"the file {file.name!r} is not there.")


async def _place_no_files(files: Sequence[File]) -> Sequence[str]:
    return ()


class NamedTurn(NamedTuple):
    """A turn whose input names some files."""

    turn: Turn
    #: the absolute path of each; none if there is no workspace
    paths: Sequence[str]


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
    #: absolute path of an existing directory in the workspace: what the agent writes there is sent to people. Programs
    #: that are started for this turn alone get it as `MOONGATE_OUTBOX`; empty without a workspace
    outbox: str = ""
    #: number of runs above this one; the agent's processes get it, and what they submit is one level deeper
    depth: int = 0
    #: the `traceparent` of the request that submitted the run, where runs are traced
    traceparent: str | None = None
    #: the files that belong to the input
    attachments: Sequence[File] = ()
    #: returns the content of a file of the input or of the history. Raises `AgentError` if it is gone
    read_file: Callable[[File], Awaitable[bytes]] = read_no_file
    #: puts files of the input into the workspace, and returns their absolute paths; none if there is no workspace
    place_files: Callable[[Sequence[File]], Awaitable[Sequence[str]]] = _place_no_files
    #: returns the messages of this session so far, oldest first
    read_history: Callable[[], Awaitable[Sequence[Message]]]
    #: returns the answer to a permission request of the agent: from its policy, or from people within
    #: `permission_timeout`. A backend that no longer needs the answer cancels the call; the end of the turn does too.
    ask_permission: Callable[[PermissionQuestion], Awaitable[Answer]] = deny_permission
    #: returns the answers to a question of the agent, by the names of its fields; None if nobody answers: at once
    #: unless its policy is to ask people. Such calls can be cancelled, too.
    ask_question: Callable[[Question], Awaitable[AnswerContent | None]] = leave_unanswered

    async def put_aside(self, files: Sequence[File]) -> Turn:
        """Return the turn for an agent that cannot be given some files: its input names them, and where they are.

        So no file is dropped silently: an agent with tools can open it, and any other can say that it cannot.
        """
        return (await self.place_and_name(files)).turn

    async def place_and_name(self, files: Sequence[File]) -> NamedTurn:
        """Put files into the workspace, and return the turn whose input names them, and where they are."""
        if not files:
            return NamedTurn(self, ())
        paths = await self.place_files(files)
        text = "\n\n".join(filter(None, [self.input, describe_attachments(files, paths)]))
        return NamedTurn(msgspec.structs.replace(self, input=text), paths)

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


def describe_attachments(files: Sequence[File], paths: Sequence[str] = ()) -> str:
    """Return the note that tells an agent of files that it is not given.

    Args:
        paths: where they are, one for each; none if the agent cannot open files.
    """
    if paths:
        placed = zip(files, paths, strict=True)
        lines = [f"- {path} ({file.media_type}, {describe_size(file.size)})" for file, path in placed]
        return "\n".join(["Attached files:", *lines])
    return "\n".join(["Attached files, which you cannot read:", *(f"- {describe_file(file)}" for file in files)])


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
class TakesFiles(Protocol):
    """A backend that hands files to its agents. A backend may be one.

    It gives an agent those attachments of a turn that the agent takes, and puts the others aside with `put_aside`, or
    all of them with `place_and_name` if the agent may want to use them as files. For every other backend the engine
    puts all attachments aside.
    """

    def accepts(self, agent: Agent) -> frozenset[FileKind] | None:
        """Return the kinds of files that an agent takes with its prompt; None if only its first turn shows that.

        It does not wait for the agent.
        """


@runtime_checkable
class Offering(Protocol):
    """A backend that knows what its agents offer their users to choose. A backend may be one."""

    def find_offer(self, agent: Agent) -> Offer | None:
        """Return what an agent has told that it offers; None if it has told nothing. It does not wait for the agent."""
        ...
