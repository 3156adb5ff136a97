"""Reads the tool calls of one turn.

An agent tells a call piece by piece: Claude Code, Qwen Code and opencode first tell an id, and the input only with the
next updates or with a permission request; Gemini CLI tells some calls only by a permission request. Claude Code tells
an input while its model writes it, in several updates.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Any

import msgspec
from acp.schema import (
    AudioContentBlock,
    FileEditToolCallContent,
    ImageContentBlock,
    TextContentBlock,
    ToolCallProgress,
    ToolCallStart,
    ToolCallUpdate,
)

from gateway.domain.event import BackendEvent, Tool, ToolEnd

#: seconds that a call is held back until its input is known
HOLD_SECONDS = 2.0
#: calls that a turn may have open; the oldest one is forgotten when there are more
MAX_OPEN_CALLS = 256
#: ended calls whose ids are remembered
MAX_REMEMBERED_CALLS = 4096
#: characters of what a call writes to its terminal that are kept
MAX_TERMINAL_CHARACTERS = 1 << 20
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
    #: whether an update has told its input; while it is pending, more of the input may come
    has_input: bool = False
    status: str = _PENDING
    #: the files that it changes, a line for each; and its output so far
    changes: list[str] = field(default_factory=list)
    output: str = ""
    terminal: str = ""
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
        is_asked = not isinstance(told, ToolCallStart | ToolCallProgress)
        if not call.is_shown:
            _take_details(call, told)
            call.has_input |= bool(told.raw_input) and not isinstance(told, ToolCallStart)
        if not is_asked:
            call.status = told.status or call.status
        self._take_output(call, told)
        if call.status in (_COMPLETED, _FAILED):
            return [*self._show(call), self._end(call)]
        return self._show(call) if is_asked or call.status != _PENDING else []

    def find_title(self, told: AnyCall) -> str:
        """Return the title of a call; empty if it has none, or has ended."""
        if told.tool_call_id in self._ended:
            return ""
        call = self._open.get(told.tool_call_id)
        return told.title or ("" if call is None else call.title)

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

    def show_known(self) -> list[BackendEvent]:
        """Return the calls whose input was told: the agent goes on with something else, so it is whole."""
        return [said for call in self._open.values() if call.has_input for said in self._show(call)]

    def show_held(self) -> list[BackendEvent]:
        """Return all calls that are held back: the agent goes on with something else."""
        return [said for call in self._open.values() for said in self._show(call)]

    def end_all(self, *, has_failed: bool) -> list[BackendEvent]:
        """Return the ends of the calls whose ends the agent has not told: its turn is over."""
        said: list[BackendEvent] = []
        for call in list(self._open.values()):
            call.status = _FAILED if has_failed or call.is_denied else _COMPLETED
            if not call.output and not call.terminal:
                call.output = "it was not allowed" if call.is_denied else "the agent did not tell how it ended"
            said += [*self._show(call), self._end(call)]
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

    def _take_output(self, call: _Call, told: AnyCall) -> None:
        """Take what a call has changed and returned. The text of one that has not begun says what it will do."""
        files = [part.path for part in told.content or () if isinstance(part, FileEditToolCallContent)]
        call.changes = [f"changed {os.path.basename(path)}" for path in files] or call.changes
        if call.status != _PENDING and isinstance(told, ToolCallStart | ToolCallProgress):
            call.output = _read_output(told) or call.output
        call.terminal = (call.terminal + _read_terminal(told.field_meta))[:MAX_TERMINAL_CHARACTERS]

    def _end(self, call: _Call) -> ToolEnd:
        self._forget(call.id)
        is_error = call.status == _FAILED
        output = "\n".join(filter(None, [*([] if is_error else call.changes), call.output or call.terminal]))
        return ToolEnd(id=call.id, name=call.name[:MAX_CALL_TITLE_CHARACTERS], is_error=is_error, output=output)

    def _forget(self, call_id: str) -> None:
        del self._open[call_id]
        self._ended[call_id] = None
        if len(self._ended) > MAX_REMEMBERED_CALLS:
            del self._ended[next(iter(self._ended))]


def _take_details(call: _Call, told: AnyCall) -> None:
    """Take name, title and input; what is left out stays as it was."""
    title = told.title or ""
    call.name = _find_tool_name(told.field_meta) or call.name or title or str(told.kind or "tool")
    call.title = title or call.title
    if told.raw_input:
        call.args = told.raw_input
    elif call.args is None and told.locations:  # Gemini CLI tells no input, but the files
        call.args = {"locations": [place.path for place in told.locations]}


def _find_tool_name(meta: dict[str, Any] | None) -> str:
    """Return the tool's own name: `_meta.claudeCode.toolName` (Claude Code), `_meta.toolName` (Qwen Code)."""
    told = meta or {}
    own = told.get("claudeCode")
    name = own.get("toolName") if isinstance(own, dict) else told.get("toolName")
    return name if isinstance(name, str) else ""


def _read_output(told: AnyCall) -> str:
    """Return what a call has returned, as text."""
    raw, content = told.raw_output, told.content or ()
    if isinstance(raw, str) and raw:
        return raw
    blocks = [getattr(part, "content", None) for part in content]
    if text := "\n".join(filter(None, map(_describe_block, blocks))):
        return text
    if isinstance(raw, dict):
        found = next((raw[key] for key in _OUTPUT_KEYS if isinstance(raw.get(key), str)), None)
        has_files = any(isinstance(part, FileEditToolCallContent) for part in content)
        return found if found is not None else "" if has_files else msgspec.json.encode(raw).decode()
    return ""


def _describe_block(block: Any) -> str:
    """Return what a block of a result says: its text, or of a picture or a sound its type."""
    if isinstance(block, TextContentBlock):
        return block.text
    return f"({block.mime_type})" if isinstance(block, ImageContentBlock | AudioContentBlock) else ""


def _read_terminal(meta: dict[str, Any] | None) -> str:
    """Return a piece of what a command writes: `_meta.terminal_output_delta.data` (codex-acp in JavaScript)."""
    piece = (meta or {}).get("terminal_output_delta")
    data = piece.get("data") if isinstance(piece, dict) else None
    return data if isinstance(data, str) else ""
