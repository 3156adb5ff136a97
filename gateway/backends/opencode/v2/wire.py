"""The parts of version 2 of opencode's API that we use, and their form of version 1, which a turn reads.

opencode 2 serves it under `/api`, and 1.18 an early form of it: there, names of events have another beginning, and
some fields other names. Unknown fields are skipped: versions add and remove them.
Format: `packages/schema` of https://github.com/anomalyco/opencode, and `GET /doc` of a server of 1.18.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Generic, TypeVar

from msgspec import Struct, field

from gateway.backends.opencode import wire

T = TypeVar("T")


class Data(Struct, Generic[T]):
    """An answer with one thing."""

    data: T


class Cursor(Struct):
    next: str | None = None


class Page(Struct, Generic[T]):
    """A page of a list."""

    data: list[T]
    cursor: Cursor = field(default_factory=Cursor)


class Location(Struct):
    directory: str = ""


class ModelRef(Struct, rename={"provider": "providerID"}):
    id: str
    provider: str


class SessionInfo(Struct):
    id: str
    location: Location = field(default_factory=Location)
    agent: str | None = None
    model: ModelRef | None = None


class ListedSession(Struct, rename={"parent": "parentID"}):
    """A session in the list of all; most are not ours."""

    id: str
    #: id of the session whose agent opened it
    parent: Any = None


class AgentInfo(Struct):
    id: str


class PermissionRequest(Struct):
    id: str
    action: str
    resources: Any = None


class ToolState(Struct):
    #: streaming or pending, running, completed, error
    status: str = ""
    input: Any = None
    content: list[Any] = field(default_factory=list)
    error: Any = None
    #: files with the whole output, if the model saw only a part
    output_paths: list[str] = field(default_factory=list, name="outputPaths")


class Content(Struct):
    """A part of an assistant's message: text, reasoning, or a tool call."""

    type: str
    #: id of a tool call; of other parts in 1.18 only
    id: str = ""
    text: str = ""
    #: name of the tool
    name: str = ""
    state: ToolState = field(default_factory=ToolState)


class Message(Struct):
    id: str
    #: user, assistant, compaction, idle, and others
    type: str
    time: wire.Time = field(default_factory=wire.Time)
    content: list[Content] = field(default_factory=list)
    tokens: wire.Tokens | None = None
    cost: float = 0
    finish: str = ""
    error: Any = None


def read_error(error: Any) -> wire.Error | None:
    """Return an error of a message or an event; None if there is none."""
    if error is None:
        return None
    told = error if isinstance(error, dict) else {"message": str(error)}
    message = told.get("message")
    return wire.Error(
        name=str(told.get("type") or "unknown"),
        data=wire.ErrorData(message if isinstance(message, str) else ""),
    )


def translate_message(message: Message, session: str) -> wire.Message | None:
    """Return a message of an assistant in the form of version 1; None for the others.

    A summary of a long conversation is no answer, but it costs tokens.
    """
    if message.type not in ("assistant", "compaction"):
        return None
    info = wire.MessageInfo(
        id=message.id,
        role="assistant",
        session=session,
        time=message.time,
        tokens=message.tokens or wire.Tokens(),
        cost=message.cost,
        error=read_error(message.error),
        finish=message.finish,
        summary=message.type == "compaction",
    )
    seen: Counter[str] = Counter()
    parts = []
    for number, content in enumerate(message.content, 1):
        # They come one after the other: one that another follows is as it stays.
        has_ended = number < len(message.content) or message.time.completed is not None
        parts.append(_translate_content(content, message.id, seen[content.type], has_ended=has_ended))
        seen[content.type] += 1
    return wire.Message(info=info, parts=parts)


def _translate_content(content: Content, message: str, ordinal: int, *, has_ended: bool) -> wire.Part:
    if content.type == "tool":
        state = content.state
        error = read_error(state.error)
        paths = {"outputPath": state.output_paths[0]} if state.output_paths else None
        told = wire.ToolState(
            status=state.status,
            input=state.input,
            output=read_output(state.content),
            error=error.short_text if error is not None else "",
            metadata=paths,
        )
        return make_tool_part(message, content.id, content.name, told)
    return wire.Part(
        id=name_text_part(message, content.type, content.id or ordinal),
        message=message,
        type=content.type,
        text=content.text,
        time=wire.Time(end=1 if has_ended else None),
    )


def make_tool_part(message: str, call: str, tool: str, state: wire.ToolState) -> wire.Part:
    return wire.Part(id=f"{message}/tool/{call}", message=message, type="tool", call=call, tool=tool, state=state)


def name_text_part(message: str, kind: str, name: str | int) -> str:
    """Return an id for a text or a reasoning: by its own id in 1.18, by its number among its kind in 2."""
    return f"{message}/{kind}/{name}"


def read_resources(resources: Any) -> list[str]:
    """Return what a permission is asked for; an agent waits for the answer, whatever this is."""
    return [str(one) for one in resources] if isinstance(resources, list) else []


def read_output(content: list[Any]) -> str:
    """Return the texts of a tool's output."""
    return "\n".join(one["text"] for one in content if isinstance(one, dict) and isinstance(one.get("text"), str))
