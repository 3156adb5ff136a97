"""Reads what an agent tells in a turn: its answer, its thoughts, its tools and its costs."""

from __future__ import annotations

import re
from typing import Any

from acp.schema import (
    AgentMessageChunk,
    AgentThoughtChunk,
    PromptResponse,
    TextContentBlock,
    ToolCallProgress,
    ToolCallStart,
    ToolCallUpdate,
    UsageUpdate,
)

from gateway.backends.acp.connection import LoadedSession
from gateway.backends.acp.tool_calls import ToolCalls
from gateway.backends.acp.usage import read_answer_usage, read_step_usage
from gateway.domain.event import BackendEvent, Log, Text, Thinking, Usage
from gateway.process.terminal_text import VisibleText

_PARAGRAPH = "\n\n"
#: a remark of the agent's program, not of its model: codex-acp sends such a line as one piece, without a message's id
_NOTICE = re.compile(r"(?:Warning|Notice): [^\n]+\n\n")


class UpdateReader:
    """Turns the updates of one turn into events, and knows whether the agent has answered."""

    def __init__(self) -> None:
        self._answer = VisibleText()
        #: the end of the answer so far
        self._tail = ""
        #: id of the message that the last text belongs to, if the agent tells ids
        self._message: str | None = None
        #: whether the next text begins a paragraph
        self._is_new_paragraph = False
        self._has_step_usage = False
        self.tools = ToolCalls()
        #: whether the agent has written text since the last denial
        self.has_spoken = True
        #: whether the agent has used a tool, or was allowed something
        self.has_worked = False

    @property
    def has_answered(self) -> bool:
        """Whether the answer shows anything."""
        return self._answer.is_shown

    def note_permission(self, call_id: str, is_allowed: bool) -> None:
        """Note that the agent was allowed something, or denied."""
        if is_allowed:
            self.has_worked = True
        else:
            self.has_spoken = False
            self.tools.note_denial(call_id)

    def read_update(self, session: LoadedSession, update: Any) -> list[BackendEvent]:
        match update:
            case AgentMessageChunk():
                return self._read_message(update)
            case AgentThoughtChunk(content=TextContentBlock(text=text)) if text:
                return [*self.tools.show_held(), Thinking(delta=text)]
            case ToolCallStart() | ToolCallProgress() | ToolCallUpdate():
                if not isinstance(update, ToolCallUpdate):  # that one is a question whether it may work
                    self.has_worked = True
                self._is_new_paragraph = True
                before = self.tools.show_known() if isinstance(update, ToolCallStart) else []
                return [*before, *self.tools.read_call(update)]
            case UsageUpdate():
                return [*self.tools.show_known(), *self._take_new_cost(session)]
        return self.tools.show_known()

    def read_end(self, answer: PromptResponse | None, *, has_failed: bool = False) -> list[BackendEvent]:
        """Return what the answer to the prompt tells, after all updates; a turn that has failed may have none."""
        used = None if self._has_step_usage or answer is None else read_answer_usage(answer)
        return [*self.tools.end_all(has_failed=has_failed), *([used] if used else [])]

    def _read_message(self, chunk: AgentMessageChunk) -> list[BackendEvent]:
        said: list[BackendEvent] = self.tools.show_known()
        if isinstance(chunk.content, TextContentBlock) and (text := chunk.content.text):
            said += self._read_text(text, chunk.message_id)
        if (used := read_step_usage(chunk.field_meta)) is not None:
            self._has_step_usage = True
            said.append(used)
        return said

    def _read_text(self, text: str, message: str | None) -> list[BackendEvent]:
        said = self.tools.show_held()
        if message is None and _NOTICE.fullmatch(text):
            return [*said, Log(level="warning", message=f"the agent says: {text.strip()}")]
        if (self._is_new_paragraph or message != self._message) and self._tail:
            missing = len(_PARAGRAPH) - (len(self._tail) - len(self._tail.rstrip("\n")))
            text = "\n" * max(0, missing) + text.lstrip("\n")
        self._message, self._is_new_paragraph = message, False
        self._answer.feed(text)
        self._tail = (self._tail + text)[-len(_PARAGRAPH) :]
        if text.strip() and self._answer.is_shown:
            self.has_spoken = True
        return [*said, Text(delta=text)] if text else said

    def _take_new_cost(self, note: LoadedSession) -> list[BackendEvent]:
        """Return the new cost at once: it counts, however the turn ends."""
        spent, note.settled_cost = note.cost - note.settled_cost, note.cost
        return [Usage(cost=spent)] if spent else []
