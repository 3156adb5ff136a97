"""The parts of opencode's API that we use; `GET /doc` of a server describes all of it.

Unknown fields and events are skipped: versions add and remove them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from gateway.domain.question import Question
from gateway.json_data import surrogates

#: the permission that the tool for questions needs
QUESTION_PERMISSION = "question"


class Time(Struct):
    start: int | None = None
    end: int | None = None
    completed: int | None = None


class Cache(Struct):
    read: float = 0
    write: float = 0


class Tokens(Struct):
    #: without the tokens that were read from a cache or written to one
    input: float = 0
    #: without the tokens of reasoning
    output: float = 0
    reasoning: float = 0
    cache: Cache = field(default_factory=Cache)


class ErrorData(Struct, rename={"status": "statusCode"}):
    message: str = ""
    #: HTTP status of the model's server, if the error comes from there
    status: Any = None


class Error(Struct):
    name: str
    data: ErrorData = field(default_factory=ErrorData)

    @property
    def short_text(self) -> str:
        return self.data.message.partition("\n")[0] or self.name

    @property
    def may_be_about_files(self) -> bool:
        """Whether the same prompt may be taken without its files: the request was wrong, not the model's server."""
        is_other = self.name == "MessageAbortedError" or self.is_refused_credential
        return not is_other and self.data.status in (None, 400, 413, 415, 422)

    @property
    def is_refused_credential(self) -> bool:
        return self.name == "ProviderAuthError" or self.data.status == 401


class MessageInfo(Struct, rename={"session": "sessionID", "parent": "parentID"}):
    """A message, without its parts."""

    id: str
    role: str
    session: str = ""
    #: id of the user's message that it answers
    parent: str = ""
    time: Time = field(default_factory=Time)
    tokens: Tokens = field(default_factory=Tokens)
    cost: float = 0
    error: Error | None = None
    #: why the model stopped; empty when it was stopped
    finish: str = ""
    #: true for an assistant's summary of a long conversation; an object in a user's message
    summary: Any = None

    @property
    def is_from_assistant(self) -> bool:
        return self.role == "assistant"

    @property
    def is_answer(self) -> bool:
        """Whether its text is for the user."""
        return self.is_from_assistant and self.summary is not True


class ToolState(Struct):
    status: str
    input: Any = None
    output: str = ""
    error: str = ""
    #: a tool may put anything here
    metadata: Any = None

    @property
    def output_file(self) -> str:
        """Path of the whole output, if the model saw only a part; else empty."""
        path = self.metadata.get("outputPath") if isinstance(self.metadata, dict) else None
        return path if isinstance(path, str) else ""


class Part(Struct, rename={"message": "messageID", "call": "callID"}):
    """A part of a message: text, reasoning, or a tool call."""

    id: str
    message: str
    type: str
    text: str = ""
    time: Time = field(default_factory=Time)
    #: whether opencode itself wrote it, in the name of the user or the agent
    synthetic: bool = False
    call: str = ""
    tool: str = ""
    state: ToolState | None = None


class FilePart(Struct):
    """A file in a message, with its content."""

    type: str
    mime: str = ""
    filename: str = ""
    #: a data URL, or where else it is
    url: str = ""


class MessageWithFiles(Struct):
    parts: list[FilePart]


class Message(Struct):
    info: MessageInfo
    parts: list[Part]


class PermissionRule(Struct):
    """A rule of a session: what a permission is answered without asking. The last one that matches counts."""

    permission: str
    pattern: str
    action: str


class Session(Struct):
    id: str
    directory: str = ""
    permission: list[PermissionRule] = field(default_factory=list)

    @property
    def may_ask_questions(self) -> bool:
        """Whether the agent has a tool for questions to its user."""
        return [rule.action for rule in self.permission if rule.permission == QUESTION_PERMISSION][-1:] != ["deny"]


class Health(Struct):
    version: str = ""


class Model(Struct):
    name: str = ""


class Provider(Struct):
    id: str
    models: dict[str, Model] = field(default_factory=dict)


class Providers(Struct):
    providers: list[Provider] = field(default_factory=list)


# --- events -----------------------------------------------------------------------------------


class PartDelta(Struct, rename={"session": "sessionID", "message": "messageID", "part": "partID"}):
    """New text of a part."""

    session: str
    message: str
    part: str
    field: str
    delta: str


class PartUpdated(Struct, rename={"session": "sessionID"}):
    session: str
    part: Part


class MessageUpdated(Struct, rename={"session": "sessionID"}):
    session: str
    info: MessageInfo


class SessionStatus(Struct):
    """The state of a session: `busy`, `idle`, or `retry` after the model has failed."""

    type: str
    attempt: int = 0
    #: why the model has failed
    message: str = ""
    #: when it is tried again, in milliseconds since 1970 UTC; 0 if that is not known
    next: float = 0


class StatusChanged(Struct, rename={"session": "sessionID"}):
    session: str
    status: SessionStatus


class SessionIdle(Struct, rename={"session": "sessionID"}):
    session: str


class StepEnded(Struct):
    """A call of the model has ended; only version 2 says so."""

    session: str
    #: id of its message
    message: str
    tokens: Tokens
    cost: float
    #: whether no other call follows, unless another prompt waits
    is_last: bool


class SessionFailed(Struct, rename={"session": "sessionID"}):
    error: Error
    session: str = ""


class PermissionAsked(Struct, rename={"session": "sessionID"}):
    id: str
    session: str
    permission: str
    patterns: list[str] = field(default_factory=list)


class PermissionReplied(Struct, rename={"session": "sessionID", "request": "requestID"}):
    """A permission request or a question was answered, by us or by another client."""

    session: str
    request: str


class QuestionOption(Struct):
    label: str = ""
    description: str = ""


class QuestionInfo(Struct):
    """One question to the user."""

    question: str = ""
    #: a short title
    header: str = ""
    options: list[QuestionOption] = field(default_factory=list)
    multiple: bool = False
    custom: bool = True


class QuestionAsked(Struct, rename={"session": "sessionID"}):
    id: str
    session: str
    questions: list[QuestionInfo] = field(default_factory=list)
    #: whether it is a form instead, which only version 2 has; and what people are asked, if they can be asked that
    is_form: bool = False
    form: Question | None = None


class SessionParent(Struct, rename={"parent": "parentID"}):
    parent: str = ""


class SessionCreated(Struct, rename={"session": "sessionID"}):
    session: str
    info: SessionParent


WireEvent = (
    PartDelta
    | PartUpdated
    | MessageUpdated
    | StatusChanged
    | SessionIdle
    | StepEnded
    | SessionFailed
    | PermissionAsked
    | PermissionReplied
    | QuestionAsked
    | SessionCreated
)

_EVENT_TYPES: Mapping[str, type[WireEvent]] = {
    "message.part.delta": PartDelta,
    "message.part.updated": PartUpdated,
    "message.updated": MessageUpdated,
    "session.status": StatusChanged,
    "session.idle": SessionIdle,
    "session.error": SessionFailed,
    "permission.asked": PermissionAsked,
    "permission.replied": PermissionReplied,
    "question.asked": QuestionAsked,
    "question.replied": PermissionReplied,
    "question.rejected": PermissionReplied,
    "session.created": SessionCreated,
}
_EVENT_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in _EVENT_TYPES.items()}


class _Payload(Struct):
    type: str
    properties: msgspec.Raw = msgspec.Raw(b"{}")


class _Envelope(Struct):
    payload: _Payload


_ENVELOPE_DECODER = msgspec.json.Decoder(_Envelope)


def read_event(data: bytes) -> WireEvent | None:
    """Read one event; return None if we do not use it or cannot read it."""
    try:
        payload = _ENVELOPE_DECODER.decode(surrogates.replace_lone_surrogates(data)).payload
        decoder = _EVENT_DECODERS.get(payload.type)
        return None if decoder is None else decoder.decode(payload.properties)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
