"""Events: the lines of a run's log, numbered from 1.

A backend yields what happened (`Text`, `Tool`, ...); the store numbers it and makes it an `Event`.
Field names are the ones that clients see.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Happening(Struct, frozen=True, kw_only=True, tag_field="kind", tag=str.lower, omit_defaults=True):
    """What one event says; its kind is the lower-case class name."""


class Status(Happening, frozen=True):
    """The run moved to another status."""

    status: str
    attempt: int = 0
    #: why, where that is not plain: a rescue, a retry
    reason: str = ""


class Text(Happening, frozen=True):
    """A piece of the answer, as it comes."""

    delta: str


class Thinking(Happening, frozen=True):
    """A piece of the agent's reasoning, where it shows it."""

    delta: str


class Tool(Happening, frozen=True):
    """The agent began to use a tool."""

    id: str
    name: str
    args: Any = None


class ToolEnd(Happening, frozen=True, tag="tool_end"):
    """A tool came back."""

    id: str
    name: str
    is_error: bool = False
    output: str = ""
    #: where the whole output is, when it is too large for the log: a path on the gateway's machine
    output_file: str = ""


class Usage(Happening, frozen=True):
    """What a step used. Steps add up to the run's usage."""

    #: tokens read by the model
    input: int = 0
    #: tokens written by the model, reasoning included
    output: int = 0
    #: of the tokens read, those that came from a cache
    cached: int = 0
    #: in US dollars, as the backend reckons it
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cached=self.cached + other.cached,
            cost=self.cost + other.cost,
        )


class Permission(Happening, frozen=True):
    """The agent asks to be allowed something, or was answered: by its policy, or by somebody."""

    id: str
    action: str
    #: what it was told; empty while it waits for that
    answer: str = ""
    #: while it waits: what it can be told, and when it is denied unless somebody has answered
    choices: tuple[str, ...] = ()
    expires_at: str = ""
    #: name of the token that answered; empty if it was the policy, or nobody
    by: str = ""
    #: why it was denied though nobody said so: `deadline` or `withdrawn`
    reason: str = ""


class Log(Happening, frozen=True):
    """A remark about the run: a retry of the model, a shortened output."""

    level: str
    message: str


class End(Happening, frozen=True):
    """The run is over. Always the last event."""

    status: str
    outcome: str
    result: str | None = None
    error: str | None = None


Said = Text | Thinking | Tool | ToolEnd | Usage | Permission | Log
AnyHappening = Status | Text | Thinking | Tool | ToolEnd | Usage | Permission | Log | End


class Event(Struct, frozen=True, kw_only=True):
    """One stored line of a run's log."""

    run: str
    #: 1 for a run's first event, without gaps
    n: int
    #: milliseconds since 1970 UTC
    at: int
    data: AnyHappening

    @property
    def kind(self) -> str:
        tag = self.data.__struct_config__.tag
        assert isinstance(tag, str)
        return tag


class Change(Struct, frozen=True, kw_only=True):
    """One line of the gateway's own log of changes: some noun is now in some state."""

    #: position in the log: grows, may skip
    seq: int
    #: `run`, `session`, `delivery`, `agent`, `schedule` or `permission`
    topic: str
    #: its id, or the session's key; of a permission the run's id, a slash, and its own
    ref: str
    #: what it is now: a run's or delivery's status, `created` and `deleted` for a session, `asked` or the answer
    state: str
    agent: str
    session: str
    #: milliseconds since 1970 UTC
    at: int
