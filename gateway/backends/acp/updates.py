"""Reads what an agent tells in a turn: its answer, its thoughts, its tools and its costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from gateway.backends.acp.made_files import MadeFiles
from gateway.backends.acp.notices import read_notice
from gateway.backends.acp.paragraphs import Paragraphs
from gateway.backends.acp.permissions import AnsweredRequest
from gateway.backends.acp.tool_calls import AnyCall, ToolCalls
from gateway.backends.acp.usage import read_answer_usage, read_step_usage
from gateway.domain.event import BackendEvent, Log, Text, Thinking, ToolEnd, Usage
from gateway.domain.ports.backend import NewFile
from gateway.process.terminal_text import VisibleText

#: what an update becomes
Heard = BackendEvent | NewFile


class UpdateReader:
    """Turns the updates of one turn into events, and knows whether the agent has answered.

    Args:
        agent: the agent's name at `initialize`.
    """

    def __init__(self, agent: str = "") -> None:
        self._agent = agent
        self._answer = VisibleText()
        self._text, self._thoughts = Paragraphs(), Paragraphs()
        self._has_step_usage = False
        self._tools = ToolCalls()
        self._files = MadeFiles()
        self._has_shown_file = False
        #: whether the agent has written text since the last denial
        self.has_spoken = True
        #: whether the agent has used a tool, or was allowed something
        self.has_worked = False
        #: the last action that was denied; empty if there is none
        self.refused = ""

    @property
    def has_answered(self) -> bool:
        """Whether the answer shows anything: text or a file."""
        return self._answer.is_shown or self._has_shown_file

    @property
    def seconds_to_wait(self) -> float | None:
        """Seconds until `show_overdue` has something to show; None if nothing waits."""
        return self._tools.seconds_to_wait

    def show_overdue(self) -> list[BackendEvent]:
        """Return the tool calls that have waited too long for their input."""
        return self._part_at_tools(self._tools.show_overdue())

    def read_update(self, session: LoadedSession, update: Any) -> list[Heard]:
        match update:
            case AgentMessageChunk():
                return self._read_message(update)
            case AgentThoughtChunk(content=TextContentBlock(text=text)) if text:
                said = self._part_at_tools(self._tools.show_held())
                return [*said, Thinking(delta=self._thoughts.add(text, update.message_id))]
            case ToolCallStart() | ToolCallProgress() | ToolCallUpdate():
                if not isinstance(update, ToolCallUpdate):  # that one is a question whether it may work
                    self.has_worked = True
                return self._read_call(update)
            case AnsweredRequest():
                return [*self._read_answered(update)]
            case UsageUpdate():
                return [*self._show_known(), *self._take_new_cost(session)]
        return [*self._show_known()]

    def read_end(self, answer: PromptResponse | None, *, has_failed: bool = False) -> list[BackendEvent]:
        """Return what the answer to the prompt tells, after all updates; a turn that has failed may have none."""
        used = None if self._has_step_usage or answer is None else read_answer_usage(answer)
        return [*self._tools.end_all(has_failed=has_failed), *([used] if used else [])]

    def _read_call(self, told: AnyCall) -> list[Heard]:
        made = self._note_files(self._files.read_call(self._tools.find_title(told), told))
        before = self._tools.show_known() if isinstance(told, ToolCallStart) else []
        return [*self._part_at_tools([*before, *self._tools.read_call(told)]), *made]

    def _note_files(self, made: Iterable[NewFile | Log]) -> list[NewFile | Log]:
        """Return files that the agent shows: each is an answer."""
        shown = list(made)
        if any(isinstance(one, NewFile) for one in shown):
            self._has_shown_file = self.has_spoken = True
        return shown

    def _read_message(self, chunk: AgentMessageChunk) -> list[Heard]:
        said: list[Heard] = [*self._show_known()]
        if (notice := read_notice(self._agent, chunk)) is not None:
            said.append(notice)
        elif isinstance(chunk.content, TextContentBlock) and (text := chunk.content.text):
            said += self._read_text(text, chunk.message_id)
        else:
            said += self._note_files(self._files.read_block(chunk.content))
        if (used := read_step_usage(chunk.field_meta)) is not None:
            self._has_step_usage = True
            said.append(used)
        return said

    def _read_answered(self, answered: AnsweredRequest) -> list[BackendEvent]:
        if answered.is_allowed:
            self.has_worked = True
        else:
            self.has_spoken, self.refused = False, answered.action
            self._tools.note_denial(answered.call.tool_call_id)
        return [] if answered.event is None else [answered.event]

    def _read_text(self, text: str, message: str | None) -> list[BackendEvent]:
        said = self._part_at_tools(self._tools.show_held())
        text = self._text.add(text, message)
        self._answer.feed(text)
        if text.strip() and self._answer.is_shown:
            self.has_spoken = True
        return [*said, Text(delta=text)]

    def _show_known(self) -> list[BackendEvent]:
        return self._part_at_tools(self._tools.show_known())

    def _part_at_tools(self, told: Sequence[BackendEvent]) -> list[BackendEvent]:
        """Begin a new paragraph where a tool begins; also where one ends, if the agent's messages have no ids."""
        for one in told:
            for words in (self._text, self._thoughts):
                words.part(only_without_ids=isinstance(one, ToolEnd))
        return list(told)

    def _take_new_cost(self, note: LoadedSession) -> list[BackendEvent]:
        """Return the new cost at once: it counts, however the turn ends."""
        spent, note.settled_cost = note.cost - note.settled_cost, note.cost
        return [Usage(cost=spent)] if spent else []
