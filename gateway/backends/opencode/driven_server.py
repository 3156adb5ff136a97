"""What a turn needs from an opencode server, whichever version of the API it speaks.

The answers and events have the form of version 1 (`wire`); the client of version 2 translates its own to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import aiohttp

from gateway.backends.opencode import wire
from gateway.backends.opencode.calls import API_CALL_TIMEOUT_SECONDS
from gateway.backends.opencode.prompt_files import PromptFile, TakenFiles
from gateway.domain.question import AnswerContent

#: opencode's own agent that Moongate's configuration disables: it asks the model for a title, which costs money
DISABLED_AGENT = "title"
#: bytes of files that a server takes in a second, at least
MIN_UPLOAD_BYTES_PER_SECOND = 500_000


class ModelName(NamedTuple):
    """A model, as opencode names it: provider/model."""

    provider: str
    model: str


@dataclass(slots=True, kw_only=True)
class Prompt:
    """A prompt of a turn."""

    text: str
    model: ModelName | None
    #: opencode's own agent; None leaves the choice to opencode
    agent: str | None
    system_prompt: str | None
    #: the files that are parts of it
    files: Sequence[PromptFile] = ()
    #: whether it is sent again, without its files, because it was refused with them
    is_repeated: bool = False
    #: id of the run, and numbers of its attempt and of the round in it
    run: str
    attempt: int
    round: int
    #: whether it is the first prompt of its session
    begins_session: bool
    #: the id by which the server knows it; empty if the server takes no ids
    id: str = ""
    #: whether the server has it already, from an earlier attempt of the run
    is_sent: bool = False

    @property
    def send_timeout(self) -> float:
        """Seconds for the server to take it."""
        return API_CALL_TIMEOUT_SECONDS + sum(file.url.size for file in self.files) / MIN_UPLOAD_BYTES_PER_SECOND


class Mark(NamedTuple):
    """Where a turn begins."""

    #: id of the newest message before it; None if there is none, or if it is not known
    newest: str | None
    #: id of its prompt, if the server takes ids
    prompt: str = ""


class DrivenServer(Protocol):
    """The calls to a server. Each raises AgentError if the server refuses it or does not answer in time."""

    #: its URL
    base: str
    #: whether a session is idle only after its last message is stored
    stores_before_idle: bool
    #: which files can be parts of a prompt, whatever its model takes
    taken_files: TakenFiles
    #: whether it was seen not to read the configuration in its environment
    ignores_config: bool

    async def close(self) -> None: ...

    async def read_version(self, within: float) -> str:
        """Return the version of the program."""

    def open_events(self, silence: float) -> aiohttp.client._RequestContextManager:
        """Open the stream of all events; it ends after `silence` seconds without a byte."""

    def read_event(self, data: bytes) -> wire.WireEvent | None:
        """Read one event; return None if a turn does not use it or it cannot be read."""

    async def prepare_directory(self, directory: str) -> None:
        """Wait until prompts can work in a directory."""

    async def dispose_directory(self, directory: str) -> None:
        """Make the server free the memory that it holds for a directory."""

    async def create_session(self, directory: str, title: str, *, may_ask_questions: bool) -> wire.Session: ...

    async def read_session(self, session: str) -> wire.Session: ...

    async def allow_questions(self, session: wire.Session, *, may_ask_questions: bool) -> None:
        """Give an earlier session the tool for questions, or take it away, where the server can."""

    async def list_helper_sessions(self, session: wire.Session) -> Sequence[wire.Session]:
        """Return the sessions that an agent opened for its helpers, as far as the server tells."""

    async def is_busy(self, session: wire.Session) -> bool:
        """Tell whether a session is at work."""

    async def find_earlier_attempt(self, session: wire.Session, prompt: Prompt) -> None:
        """Set the id of a prompt, and whether the server has the prompt from an earlier attempt of the run."""

    async def find_mark(self, session: wire.Session, prompt: Prompt) -> Mark:
        """Return where the turn of a prompt begins."""

    def is_earlier(self, info: wire.MessageInfo, mark: Mark) -> bool:
        """Tell whether a message belongs to a turn before the mark, which may still write after it was stopped."""

    async def send_prompt(self, session: wire.Session, prompt: Prompt) -> None: ...

    async def take_back_prompt(self, session: wire.Session, mark: Mark) -> bool:
        """Make the conversation forget the prompt after a mark, and what followed. Return False if it cannot."""

    async def read_files(self, session: wire.Session, message: str) -> Sequence[wire.FilePart]:
        """Return the files in a message of the assistant, with their content."""

    async def read_messages_after(self, session: wire.Session, mark: Mark) -> Sequence[wire.Message]:
        """Return the messages of the turn that begins after a mark, oldest first."""

    async def abort_session(self, session: wire.Session, within: float) -> None: ...

    async def list_permission_requests(
        self, session: wire.Session, sessions: Collection[str]
    ) -> Sequence[wire.PermissionAsked]:
        """Return the permission requests of a session and its helpers' that wait for an answer, and perhaps others."""

    async def answer_permission(
        self, asked: wire.PermissionAsked, session: wire.Session, body: Mapping[str, str]
    ) -> None: ...

    async def list_questions(self, session: wire.Session, sessions: Collection[str]) -> Sequence[wire.QuestionAsked]:
        """Return the questions of a session and its helpers' that wait for an answer, and perhaps others."""

    async def answer_question(
        self, asked: wire.QuestionAsked, session: wire.Session, content: AnswerContent | None
    ) -> None:
        """Answer a question; None tells the agent that nobody answers."""
