"""Reading JSON lines by declared rules: which line says what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from gateway import surrogates
from gateway.domain.event import Log, Said, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.ports.backend import Reply, SessionRef

#: characters of an error message that are kept
MESSAGE = 500

# What may stand among a program's arguments, though it came from outside: it can never be an option.
_VALUE = re.compile(r"[A-Za-z0-9][\w./:@+=-]{0,255}")


class UsageRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a line says what a step used; steps add up."""

    #: path of the number of tokens read
    input: str = ""
    #: path of the number of tokens written
    output: str = ""
    #: path of the number of tokens that came from a cache
    cached: str = ""
    #: path of the cost in US dollars
    cost: str = ""


class ToolRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a line says that a tool is used, or has come back."""

    #: path of the id that both lines share
    id: str
    #: path of the tool's name
    name: str
    #: path of what it was given
    args: str = ""
    #: path of what it gave back: with it, the line tells of the end of the use
    output: str = ""
    #: path of why the use failed: where a line has that, it tells of the end, too
    error: str = ""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the lines of one kind say. Each field but `when` is a dotted path: `part.tokens.input`."""

    #: values that a line of this kind has, by path; none means every line
    when: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    #: a piece of the answer, as it is
    text: str = ""
    #: a paragraph of the answer: a blank line divides it from what came before
    paragraph: str = ""
    #: the whole answer, in place of all the text before
    reply: str = ""
    #: a piece of the agent's reasoning
    thinking: str = ""
    #: the program's own name for the conversation, for `resume_args`
    session: str = ""
    #: why the turn failed
    error: str = ""
    usage: UsageRule | None = None
    tool: ToolRule | None = None


def is_value(text: str) -> bool:
    """Tell whether a text from outside may be an argument, or a part of one."""
    return _VALUE.fullmatch(text) is not None


def at(path: str, line: Any) -> Any:
    """Return what is at a dotted path, where a number counts in a list; None if nothing is."""
    if not path:
        return None
    for step in path.split("."):
        if isinstance(line, dict):
            line = line.get(step)
        elif isinstance(line, list) and step.isdecimal() and int(step) < len(line):
            line = line[int(step)]
        else:
            return None
    return line


def text_at(path: str, line: Any) -> str:
    """Return what is at a path as text; what is not text is shown as JSON, nothing as ``""``."""
    found = at(path, line)
    if found is None or isinstance(found, str):
        return found or ""
    return msgspec.json.encode(found).decode()


class Reader:
    """Reads the lines of one turn, in order."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules
        self._spoken = False
        self._session = ""
        #: lines so far that were not JSON objects
        self.skipped_lines = 0
        #: the first error that a line told of
        self.first_error = ""

    def read(self, line: bytes) -> Iterator[Said | SessionRef | Reply]:
        """Yield what a line says, by every rule that fits it."""
        if not line.strip():
            return
        try:
            value = msgspec.json.decode(surrogates.mended(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self.skipped_lines += 1
            return
        for rule in self._rules:
            if all(at(path, value) == wanted for path, wanted in rule.when.items()):
                yield from self._apply(rule, value)

    def _apply(self, rule: Rule, line: Mapping[str, Any]) -> Iterator[Said | SessionRef | Reply]:
        ref = text_at(rule.session, line)
        if ref and ref != self._session:
            self._session = ref
            yield _session(ref)
        if thought := text_at(rule.thinking, line):
            yield Thinking(delta=thought)
        yield from self._answer(rule, line)
        if rule.tool:
            yield from _tool(rule.tool, line)
        if rule.usage:
            yield from _usage(rule.usage, line)
        if not self.first_error and at(rule.error, line):
            self.first_error = text_at(rule.error, line)[:MESSAGE]

    def _answer(self, rule: Rule, line: Mapping[str, Any]) -> Iterator[Text | Reply]:
        if piece := text_at(rule.text, line):
            self._spoken = True
            yield Text(delta=piece)
        if paragraph := text_at(rule.paragraph, line):
            yield Text(delta="\n\n" + paragraph if self._spoken else paragraph)
            self._spoken = True
        if whole := text_at(rule.reply, line):
            yield Reply(text=whole)


def _session(ref: str) -> SessionRef | Log:
    if is_value(ref):
        return SessionRef(ref)
    # It would stand among the arguments of the next turn, where it could pass for an option.
    return Log(level="warning", message="the agent's name for the session was ignored: it has odd characters.")


def _tool(rule: ToolRule, line: Mapping[str, Any]) -> Iterator[Tool | ToolEnd]:
    use, name = text_at(rule.id, line), text_at(rule.name, line)
    if not (use and name):
        return
    if rule.args and at(rule.args, line) is not None:
        yield Tool(id=use, name=name, args=at(rule.args, line))
    elif not rule.output:
        yield Tool(id=use, name=name)
    if rule.error and (failure := text_at(rule.error, line)):
        yield ToolEnd(id=use, name=name, output=failure, is_error=True)
    elif rule.output:
        yield ToolEnd(id=use, name=name, output=text_at(rule.output, line))


def _usage(rule: UsageRule, line: Mapping[str, Any]) -> Iterator[Usage]:
    used = Usage(
        input=int(_number(rule.input, line)),
        output=int(_number(rule.output, line)),
        cached=int(_number(rule.cached, line)),
        cost=_number(rule.cost, line),
    )
    if used != Usage():
        yield used


def _number(path: str, line: Mapping[str, Any]) -> float:
    found = at(path, line)
    return found if isinstance(found, int | float) and 0 <= found < 1e15 else 0
