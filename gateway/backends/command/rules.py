"""Reads the JSON lines of a program by declared rules.

A line counts if a terminal would show a JSON object on it, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from gateway.domain.event import BackendEvent, Log, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.finish_reason import find_finish_reason
from gateway.domain.ports.backend import FullReply, SessionRef
from gateway.domain.run import FinishReason
from gateway.json_data import surrogates
from gateway.process.terminal_text import VisibleText, clean_stray_text, split_message

#: characters of an error message, at most
MAX_ERROR_CHARACTERS = 500

# A text from outside that is safe as an argument: it can never be read as an option.
_SAFE_ARGUMENT = re.compile(r"[A-Za-z0-9][\w./:@+=-]{0,255}")


class UsageRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths to the usage of one step; the steps add up."""

    #: path of the number of input tokens
    input: str = ""
    #: path of the number of output tokens
    output: str = ""
    #: path of the number of tokens that came from a cache
    cached: str = ""
    #: path of the cost in US dollars
    cost: str = ""


class ToolRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths to the start or the end of a tool call."""

    #: path of the id, which the lines of start and end share
    id: str
    #: path of the tool's name
    name: str
    #: path of the tool's arguments
    args: str = ""
    #: path of the output; a line of a rule with it is the end of the call
    output: str = ""
    #: path of the error; a line that has it is the end of the call
    error: str = ""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The meaning of one kind of line. Each field except `when` is a dotted path: `part.tokens.input`."""

    #: values that a line must have, by path; empty means every line
    when: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    #: a piece of the answer, passed on unchanged
    text: str = ""
    #: a paragraph of the answer, with a blank line before it
    paragraph: str = ""
    #: the whole answer; it replaces all text before it
    reply: str = ""
    #: a piece of the agent's reasoning
    thinking: str = ""
    #: the program's own name for the conversation, for `resume_args`
    session: str = ""
    #: why the answer ended: `length`, `max_tokens`, `content_filter`, `stop` and the like; the last one counts
    finish: str = ""
    #: why the turn failed
    error: str = ""
    usage: UsageRule | None = None
    tool: ToolRule | None = None


def is_safe_argument(text: str) -> bool:
    """Tell whether a text from outside is safe as an argument, or as a part of one."""
    return _SAFE_ARGUMENT.fullmatch(text) is not None


def value_at(path: str, line: Any) -> Any:
    """Return the value at a dotted path; a number is an index of a list. None if there is no value."""
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
    """Return the value at a path as text: JSON if it is no text, ``""`` if there is none."""
    found = value_at(path, line)
    if found is None or isinstance(found, str):
        return found or ""
    return msgspec.json.encode(found).decode()


class LineReader:
    """Reads the lines of one turn, in order."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules
        self._spoken = False
        self._session = ""
        #: number of lines that were not JSON objects, and the beginning of what stood in them and before the objects
        self.skipped_lines = 0
        self.skipped_text = ""
        #: why the answer ended, by the last word for it
        self.finish = FinishReason.STOP
        #: the first error in a line
        self.first_error = ""
        self._has_lines = False
        #: whether it used a tool, and the last one did not fail
        self._has_worked = False
        self._answer = VisibleText()

    @property
    def lacks_answer(self) -> bool:
        """Whether the program wrote lines without an answer in them and without a tool, though a rule reads answers.

        A program that writes nothing has nothing to say, and one that used a tool may have worked in silence, unless
        that tool failed (opencode ends so when something is denied), or a limit or a filter ended its work.
        """
        reads_answers = any(rule.text or rule.paragraph or rule.reply for rule in self._rules)
        is_silent_work = self._has_worked and self.finish is FinishReason.STOP
        return self._has_lines and reads_answers and not is_silent_work and not self._answer.is_shown

    def read_line(self, line: bytes) -> Iterator[BackendEvent | SessionRef | FullReply]:
        """Yield the events of a line, by every rule that applies."""
        self._has_lines = self._has_lines or bool(line.strip())
        before, message, is_alone = split_message(line)
        try:
            value = msgspec.json.decode(surrogates.replace_lone_surrogates(message)) if is_alone and message else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            value, before = None, clean_stray_text(line)
        if not is_alone:  # a line of a log that quotes an object, for example
            before = clean_stray_text(line)
        self._note_skipped(before)
        if not isinstance(value, dict):
            self.skipped_lines += bool(before)
            return
        for rule in self._rules:
            if all(value_at(path, value) == wanted for path, wanted in rule.when.items()):
                for said in self._apply_rule(rule, value):
                    self._count_output(said)
                    yield said

    def _count_output(self, said: BackendEvent | SessionRef | FullReply) -> None:
        match said:
            case Text(delta=text) | FullReply(text=text):
                self._answer.feed(text)
            case Tool():
                self._has_worked = True
            case ToolEnd(is_error=failed):
                self._has_worked = not failed

    def _note_skipped(self, text: str) -> None:
        if text and len(self.skipped_text) < MAX_ERROR_CHARACTERS:
            self.skipped_text = f"{self.skipped_text}\n{text}".strip()[:MAX_ERROR_CHARACTERS]

    def _apply_rule(self, rule: Rule, line: Mapping[str, Any]) -> Iterator[BackendEvent | SessionRef | FullReply]:
        ref = text_at(rule.session, line)
        if ref and ref != self._session:
            self._session = ref
            yield _check_session(ref)
        if thought := text_at(rule.thinking, line):
            yield Thinking(delta=thought)
        yield from self._read_answer(rule, line)
        if rule.tool:
            yield from _read_tool(rule.tool, line)
        if rule.usage:
            yield from _read_usage(rule.usage, line)
        if (word := value_at(rule.finish, line)) is not None:
            self.finish = find_finish_reason(word) or FinishReason.STOP
        if not self.first_error and value_at(rule.error, line):
            self.first_error = text_at(rule.error, line)[:MAX_ERROR_CHARACTERS]

    def _read_answer(self, rule: Rule, line: Mapping[str, Any]) -> Iterator[Text | FullReply]:
        if piece := text_at(rule.text, line):
            self._spoken = True
            yield Text(delta=piece)
        if paragraph := text_at(rule.paragraph, line):
            yield Text(delta="\n\n" + paragraph if self._spoken else paragraph)
            self._spoken = True
        if whole := text_at(rule.reply, line):
            yield FullReply(text=whole)


def _check_session(ref: str) -> SessionRef | Log:
    if is_safe_argument(ref):
        return SessionRef(ref)
    # It would be an argument of the next turn, and the program could read it as an option.
    return Log(level="warning", message="the agent's name for the session was ignored: it has special characters.")


def _read_tool(rule: ToolRule, line: Mapping[str, Any]) -> Iterator[Tool | ToolEnd]:
    use, name = text_at(rule.id, line), text_at(rule.name, line)
    if not (use and name):
        return
    if rule.args and value_at(rule.args, line) is not None:
        yield Tool(id=use, name=name, args=value_at(rule.args, line))
    elif not rule.output:
        yield Tool(id=use, name=name)
    if rule.error and (failure := text_at(rule.error, line)):
        yield ToolEnd(id=use, name=name, output=failure, is_error=True)
    elif rule.output:
        yield ToolEnd(id=use, name=name, output=text_at(rule.output, line))


def _read_usage(rule: UsageRule, line: Mapping[str, Any]) -> Iterator[Usage]:
    used = Usage(
        input=int(_read_number(rule.input, line)),
        output=int(_read_number(rule.output, line)),
        cached=int(_read_number(rule.cached, line)),
        cost=_read_number(rule.cost, line),
    )
    if used != Usage():
        yield used


def _read_number(path: str, line: Mapping[str, Any]) -> float:
    found = value_at(path, line)
    return found if isinstance(found, int | float) and 0 <= found < 1e15 else 0
