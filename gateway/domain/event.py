"""Events: the entries of a run's log, numbered from 1.

A backend yields `Text`, `Tool` and so on; the store numbers each one and wraps it in an `Event`.
Clients see the field names as they are here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct

from gateway.domain.question import AnswerContent, Question


class EventData(Struct, frozen=True, kw_only=True, tag_field="kind", tag=str.lower, omit_defaults=True):
    """The content of an event. Its kind is the class name in lower case."""


class Status(EventData, frozen=True):
    """The run has another status."""

    #: the new status: queued or running
    status: str
    attempt: int = 0
    #: why, if that is not obvious: a rescue, a retry
    reason: str = ""


class Text(EventData, frozen=True):
    """A piece of the answer, as the agent writes it."""

    #: the piece; the answer is all pieces one after the other
    delta: str


class Thinking(EventData, frozen=True):
    """A piece of the agent's reasoning, if the agent shows it."""

    #: the piece
    delta: str


class Tool(EventData, frozen=True):
    """The agent started to use a tool."""

    #: id of the call; its end has the same
    id: str
    #: the tool, as the agent calls it
    name: str
    #: what the tool is given, as the agent tells it
    args: Any = None
    #: what the call does, in the agent's words, if it tells more than the name
    title: str = ""


class ToolEnd(EventData, frozen=True, tag="tool_end"):
    """A tool has finished."""

    #: id of the call that has ended
    id: str
    #: the tool, as the agent calls it
    name: str
    #: whether the tool failed
    is_error: bool = False
    #: what it returned, or why it failed; long outputs are shortened
    output: str = ""
    #: file on the gateway's machine with the whole output, if that is too large for the log
    output_file: str = ""
    #: seconds from the start of the tool to its end, with the time in which people were asked
    seconds: float | None = None


class Usage(EventData, frozen=True):
    """What one step used. The usage of a run is the sum of its steps."""

    #: input tokens
    input: int = 0
    #: output tokens, including reasoning
    output: int = 0
    #: of the input tokens, those that came from a cache
    cached: int = 0
    #: in US dollars, as the backend reports it
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cached=self.cached + other.cached,
            cost=self.cost + other.cost,
        )


class Permission(EventData, frozen=True):
    """The agent asks for permission or asks a question, or has its answer: from its policy or from a person."""

    #: id of the request, unique in its run
    id: str
    #: what the agent wants to do, or its question in short
    action: str
    #: the answer; empty while the agent waits for it
    answer: str = ""
    #: while it waits: the possible answers, and when the request is denied unless somebody answers
    choices: tuple[str, ...] = ()
    expires_at: str = ""
    #: who answered: the name of a token, or a channel and its chat; empty for the policy, or if nobody answered
    by: str = ""
    #: why it was denied without an answer: `deadline` or `withdrawn`
    reason: str = ""
    #: while it waits: the question, if it is one
    question: Question | None = None
    #: the answers to the fields of a question, by their names
    content: AnswerContent | None = None


class Notice(StrEnum):
    """What whoever reads an answer should know about the conversation behind it."""

    #: the agent had lost its conversation: it began a new one, and was given the transcript
    SESSION_RESTARTED = "session_restarted"
    #: the model could not read the whole conversation: the oldest turns were left out
    CONTEXT_SHORTENED = "context_shortened"


class Log(EventData, frozen=True):
    """A remark about the run, such as a retry of the model or a shortened output."""

    #: as in the log: debug, info, warning or error
    level: str
    #: the remark
    message: str
    #: what it means for the answer, if the run shall carry that
    notice: Notice | None = None


class MadeFile(EventData, frozen=True, tag="file"):
    """The agent has made a file, which `GET /api/files/{id}` returns."""

    #: its id
    id: str
    #: its name
    name: str
    #: its type, such as `image/png`
    media_type: str
    #: in bytes
    size: int


class End(EventData, frozen=True):
    """The run has ended. This is always the last event."""

    #: succeeded, failed or cancelled
    status: str
    #: why: completed, agent_error, timeout, interrupted, cancelled_by_user or over_budget
    outcome: str
    #: the whole answer
    result: str | None = None
    #: why the answer ended, if there is one: `stop`, `length` or `content_filter`
    finish: str | None = None
    error: str | None = None


BackendEvent = Text | Thinking | Tool | ToolEnd | Usage | Permission | Log
AnyEventData = Status | Text | Thinking | Tool | ToolEnd | Usage | Permission | Log | MadeFile | End


class Event(Struct, frozen=True, kw_only=True):
    """A stored entry of a run's log."""

    run: str
    #: 1 for the run's first event; there are no gaps
    number: int
    #: milliseconds since 1970 UTC
    at: int
    data: AnyEventData

    @property
    def kind(self) -> str:
        tag = self.data.__struct_config__.tag
        assert isinstance(tag, str)
        return tag


class Change(Struct, frozen=True, kw_only=True):
    """An entry of the gateway's log of changes: a run, session, delivery or the like has a new state."""

    #: position in the log: it grows, and may skip numbers
    seq: int
    #: `run`, `session`, `delivery`, `agent`, `schedule`, `permission` or `project`
    topic: str
    #: id of what changed, the session's key or the project's slug; for a permission the run's id, a slash and the
    #: request's id
    ref: str
    #: the new state: the status of a run or delivery, `created` or `deleted` for a session, `asked` or the answer
    state: str
    agent: str
    session: str
    #: milliseconds since 1970 UTC
    at: int
