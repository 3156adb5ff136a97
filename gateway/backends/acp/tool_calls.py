"""Reads the tool calls of one turn.

An agent tells a call piece by piece: Claude Code, Qwen Code and opencode first tell an id, and the input only with the
next update or with a permission request; Gemini CLI tells some calls only by a permission request.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import msgspec
from acp.schema import FileEditToolCallContent, TextContentBlock, ToolCallProgress, ToolCallStart, ToolCallUpdate

from gateway.domain.event import BackendEvent, Tool, ToolEnd

#: seconds that a call is held back until its input is known
HOLD_SECONDS = 2.0
#: calls that a turn may have open; the oldest one is forgotten when there are more
MAX_OPEN_CALLS = 256
#: ended calls whose ids are remembered
MAX_REMEMBERED_CALLS = 4096
#: characters of a call's name or title
MAX_CALL_TITLE_CHARACTERS = 500
#: the protocol's statuses of a tool call
_PENDING, _COMPLETED, _FAILED = "pending", "completed", "failed"
#: where the raw output of an agent's tool has its text: opencode and Qwen Code, codex
_OUTPUT_KEYS = ("output", "formatted_output", "aggregated_output", "text", "stdout")

AnyCall = ToolCallStart | ToolCallProgress | ToolCallUpdate


@dataclass(slots=True, kw_only=True)
class _Call:
    """What is known of a call that has not ended."""

    id: str
    name: str = ""
    title: str = ""
    args: Any = None
    #: whether its `Tool` event is out
    is_shown: bool = False
    #: whether it was denied
    is_denied: bool = False
    #: when it is shown at the latest, by the clock of the loop
    show_at: float = 0.0


class ToolCalls:
    """The tool calls of one turn."""

    def __init__(self) -> None:
        self._open: dict[str, _Call] = {}
        #: ids of calls that have ended, oldest first: what comes later for them is dropped
        self._ended: dict[str, None] = {}

    def read_call(self, told: AnyCall) -> list[BackendEvent]:
        """Take what the agent tells about a call, and return what can be shown now."""
        if told.tool_call_id in self._ended:
            return []
        call = self._find_call(told.tool_call_id)
        is_known = _take_details(call, told) and not isinstance(told, ToolCallStart)
        is_asked, status = isinstance(told, ToolCallUpdate), told.status or _PENDING
        if not (is_known or is_asked or status != _PENDING):
            return []
        said = self._show(call)
        if status in (_COMPLETED, _FAILED):
            said.append(self._end(call, is_error=status == _FAILED, output=_read_output(told)))
        return said

    def note_denial(self, call_id: str) -> None:
        """Note that a call was denied: some agents do not tell its end."""
        if call_id not in self._ended:
            self._find_call(call_id).is_denied = True

    @property
    def seconds_to_wait(self) -> float | None:
        """Seconds until a call that is held back must be shown; None if none is."""
        times = [call.show_at for call in self._open.values() if not call.is_shown]
        return max(0.0, min(times) - asyncio.get_running_loop().time()) if times else None

    def show_overdue(self) -> list[BackendEvent]:
        """Return the calls that were held back for too long."""
        now = asyncio.get_running_loop().time()
        return [said for call in self._open.values() if call.show_at <= now for said in self._show(call)]

    def show_held(self) -> list[BackendEvent]:
        """Return all calls that are held back: the agent goes on with something else."""
        return [said for call in self._open.values() for said in self._show(call)]

    def end_all(self, *, has_failed: bool) -> list[BackendEvent]:
        """Return the ends of the calls whose ends the agent has not told: its turn is over."""
        said: list[BackendEvent] = []
        for call in list(self._open.values()):
            said += self._show(call)
            why = "it was not allowed" if call.is_denied else "the agent did not tell how it ended"
            said.append(self._end(call, is_error=has_failed or call.is_denied, output=why))
        return said

    def _find_call(self, call_id: str) -> _Call:
        if call_id not in self._open:
            if len(self._open) >= MAX_OPEN_CALLS:
                self._forget(next(iter(self._open)))
            show_at = asyncio.get_running_loop().time() + HOLD_SECONDS
            self._open[call_id] = _Call(id=call_id, show_at=show_at)
        return self._open[call_id]

    def _show(self, call: _Call) -> list[BackendEvent]:
        if call.is_shown:
            return []
        call.is_shown = True
        title = call.title[:MAX_CALL_TITLE_CHARACTERS] if call.title != call.name else ""
        return [Tool(id=call.id, name=call.name[:MAX_CALL_TITLE_CHARACTERS], title=title, args=call.args)]

    def _end(self, call: _Call, *, is_error: bool, output: str) -> ToolEnd:
        self._forget(call.id)
        return ToolEnd(id=call.id, name=call.name[:MAX_CALL_TITLE_CHARACTERS], is_error=is_error, output=output)

    def _forget(self, call_id: str) -> None:
        del self._open[call_id]
        self._ended[call_id] = None
        if len(self._ended) > MAX_REMEMBERED_CALLS:
            del self._ended[next(iter(self._ended))]


def _take_details(call: _Call, told: AnyCall) -> bool:
    """Take name, title and input; return whether an input was told."""
    title = told.title or ""
    if not call.is_shown:
        call.name = _find_tool_name(told.field_meta) or call.name or title or str(told.kind or "tool")
        call.title = title or call.title
        if told.raw_input:
            call.args = told.raw_input
    return bool(told.raw_input)


def _find_tool_name(meta: dict[str, Any] | None) -> str:
    """Return the tool's own name: `_meta.claudeCode.toolName` (Claude Code), `_meta.toolName` (Qwen Code)."""
    told = meta or {}
    own = told.get("claudeCode")
    name = own.get("toolName") if isinstance(own, dict) else told.get("toolName")
    return name if isinstance(name, str) else ""


def _read_output(told: AnyCall) -> str:
    """Return what a call has returned, as text."""
    raw = told.raw_output
    if isinstance(raw, str) and raw:
        return raw
    if text := "\n".join(filter(None, (_read_content(part) for part in told.content or ()))):
        return text
    if isinstance(raw, dict):
        found = next((raw[key] for key in _OUTPUT_KEYS if isinstance(raw.get(key), str)), None)
        return found if found is not None else msgspec.json.encode(raw).decode()
    return ""


def _read_content(part: Any) -> str:
    """Return a part of a call's content as text: a text, or the name of a file that it changes."""
    if isinstance(part, FileEditToolCallContent):
        return f"changed {os.path.basename(part.path)}"
    content = getattr(part, "content", None)
    return content.text if isinstance(content, TextContentBlock) else ""
