"""Reads what an agent tells in a turn: its answer, its thoughts, its tools and its costs."""

from __future__ import annotations

import os
from typing import Any

from acp.schema import (
    AgentMessageChunk,
    AgentThoughtChunk,
    TextContentBlock,
    ToolCallProgress,
    ToolCallStart,
    UsageUpdate,
)

from gateway.backends.acp.connection import LoadedSession
from gateway.domain.event import BackendEvent, Text, Thinking, Tool, ToolEnd, Usage
from gateway.process.terminal_text import VisibleText

#: the protocol's statuses of a tool call that has ended
_TOOL_COMPLETED, _TOOL_FAILED = "completed", "failed"


class UpdateReader:
    """Turns the updates of one turn into events, and knows whether the agent has answered."""

    def __init__(self) -> None:
        self._answer = VisibleText()
        self._running: set[str] = set()
        #: whether the agent has written text since the last denial
        self.has_spoken = True
        #: whether the agent has used a tool, or was allowed something
        self.has_worked = False

    @property
    def has_answered(self) -> bool:
        """Whether the answer shows anything."""
        return self._answer.is_shown

    def note_permission(self, is_allowed: bool) -> None:
        """Note that the agent was allowed something, or denied."""
        if is_allowed:
            self.has_worked = True
        else:
            self.has_spoken = False

    def read_update(self, session: LoadedSession, update: Any) -> list[BackendEvent]:
        match update:
            case AgentMessageChunk(content=TextContentBlock(text=text)):
                self._answer.feed(text)
                if text.strip() and self._answer.is_shown:
                    self.has_spoken = True
                return [Text(delta=text)]
            case AgentThoughtChunk(content=TextContentBlock(text=text)):
                return [Thinking(delta=text)]
            case ToolCallStart():
                self._running.add(update.tool_call_id)
                self.has_worked = True
                begun = Tool(
                    id=update.tool_call_id, name=update.title or str(update.kind or "tool"), args=update.raw_input
                )
                return [begun, *self._read_tool_end(update)]
            case ToolCallProgress():
                return self._read_tool_end(update)
            case UsageUpdate():
                return self._take_new_cost(session)
        return []

    def _read_tool_end(self, update: Any) -> list[BackendEvent]:
        if update.status not in (_TOOL_COMPLETED, _TOOL_FAILED) or update.tool_call_id not in self._running:
            return []
        self._running.discard(update.tool_call_id)
        return [
            ToolEnd(
                id=update.tool_call_id,
                name=update.title or "",
                is_error=update.status == _TOOL_FAILED,
                output="\n".join(_read_output(part) for part in update.content or ()),
            )
        ]

    def _take_new_cost(self, note: LoadedSession) -> list[BackendEvent]:
        """Return the new cost at once: it counts, however the turn ends."""
        spent, note.settled_cost = note.cost - note.settled_cost, note.cost
        return [Usage(cost=spent)] if spent else []


def _read_output(part: Any) -> str:
    """Return a part of a tool's output as text."""
    content = getattr(part, "content", None)
    if isinstance(content, TextContentBlock):
        return content.text
    path = getattr(part, "path", None)
    return f"changed {os.path.basename(path)}" if isinstance(path, str) else ""
