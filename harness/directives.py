"""What a scripted model does: a directive in the prompt says it.

The last directive in the last user message counts (an agent may put an interrupted prompt before it); without one,
the model answers `echo: <message>`:

    [[say TEXT]]                  answer TEXT
    [[cut TEXT]]                  answer TEXT, and say that the limit of tokens was reached
    [[draw BYTES TEXT]]           answer TEXT and a picture with that many bytes of filling, where the protocol has them
    [[think TEXT]]                reason TEXT, then answer
    [[slow N MS]]                 stream N words, MS milliseconds before each
    [[history]]                   answer the number of messages in the request, and their roles
    [[recall]]                    answer the first user message
    [[tool NAME {json}]]          call the tool; when its result comes, answer with it
    [[error CODE TIMES AFTER]]    fail with that HTTP status, the first TIMES times (else always),
                                  asking to retry after AFTER seconds
    [[midfail]]                   stream a piece, then break the connection
    [[stop]]                      stream a piece, then end without a reason and without [DONE]
    [[refuse TEXT]]               stream a piece, then an error in the stream
    [[garbage]]                   stream a piece, then something that is not JSON
    [[bytes]]                     stream a piece, then bytes that are not UTF-8
    [[line MB]]                   stream one line of MB megabytes
    [[flood MB]]                  stream MB megabytes of text
    [[hang]]                      accept, and never answer
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.pictures import make_png

_DIRECTIVE = re.compile(
    r"\[\[(say|cut|draw|think|slow|history|recall|tool|error|midfail|stop|refuse|garbage|bytes|line|flood|hang)"
    r"\b\s*(.*?)\]\]",
    re.DOTALL,
)


class Message(NamedTuple):
    """A message in a request: the role is `user`, `tool` (a result), or what the protocol says."""

    role: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Words to stream, after some reasoning."""

    words: list[str]
    thought: str = ""
    #: seconds before each word
    pause: float = 0.0
    #: whether the limit of tokens ends it
    cut: bool = False
    #: PNG
    picture: bytes = b""

    @property
    def text(self) -> str:
        return "".join(self.words)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool."""

    name: str
    #: JSON
    arguments: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error."""

    status: int
    #: how many times, for the same message; None for always
    times: int | None
    #: seconds for the header Retry-After
    after: str | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """A way to misbehave, by the name of its directive."""

    kind: str
    argument: str = ""


Plan = Answer | Call | Refusal | Trouble


def last_user_text(messages: list[Message]) -> str:
    said = [message.text for message in messages if message.role == "user"]
    return said[-1] if said else ""


def read(messages: list[Message]) -> Plan:
    """Return what to do for a conversation."""
    asked = last_user_text(messages)
    found = _DIRECTIVE.findall(asked)
    if not found:
        return answer("echo: " + asked.strip()[-400:])
    kind, argument = found[-1]
    return _obey(kind, argument.strip(), messages)


def answer(text: str) -> Answer:
    """Return a plan to answer a text word by word."""
    return Answer(words=_words(text))


def smallest_value(schema: dict[str, Any]) -> Any:
    """Return a small value that fits a JSON schema, for a request whose answer must be JSON."""
    if "enum" in schema:
        return schema["enum"][0]
    match str(schema.get("type")).lower():
        case "object":
            return {name: smallest_value(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return []
        case "boolean":
            return False
        case "integer" | "number":
            return 1
    return "scripted"


def count_tokens(text: str) -> int:
    return max(1, len(text) // 4)


def _obey(kind: str, argument: str, messages: list[Message]) -> Plan:
    match kind, argument.split():
        case "say", _:
            return answer(argument)
        case "cut", _:
            return Answer(words=_words(argument), cut=True)
        case "draw", [size, *words]:
            return Answer(words=_words(" ".join(words)) if words else [], picture=make_png("x" * int(size)))
        case "think", _:
            return Answer(words=["done", " thinking"], thought=argument)
        case "slow", [count, *pause]:
            seconds = int(pause[0] if pause else 200) / 1000
            return Answer(words=[f"w{number} " for number in range(int(count))], pause=seconds)
        case "history", _:
            roles = ",".join(message.role for message in messages)
            return answer(f"{len(messages)} messages: {roles}")
        case "recall", _:
            return answer(next(message.text for message in messages if message.role == "user"))
        case "tool", _:
            return _call(argument, messages)
        case "error", [status, *rest]:
            return Refusal(int(status), int(rest[0]) if rest else None, rest[1] if rest[1:] else None)
    return Trouble(kind, argument)


def _call(argument: str, messages: list[Message]) -> Plan:
    asked = max(number for number, message in enumerate(messages) if message.role == "user")
    results = [message.text for message in messages[asked:] if message.role == "tool"]
    if results:
        return answer("tool result: " + results[-1][:300])
    name, _, arguments = argument.partition(" ")
    return Call(name, arguments.strip() or "{}")


def _words(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text) or [""]
