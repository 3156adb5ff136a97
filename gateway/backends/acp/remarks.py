"""What an agent tells next to its answer in one turn, for the log of the run: its standard error, text between the
messages, and failed tries of its model."""

from __future__ import annotations

import re
from typing import Any

from acp.schema import (
    AgentMessageChunk,
    AgentThoughtChunk,
    SessionInfoUpdate,
    TextContentBlock,
    ToolCallProgress,
    ToolCallStart,
)

from gateway.backends.acp import failures
from gateway.backends.acp.failures import MAX_SHOWN_REASON_CHARACTERS, FailedTry, RetryWatch
from gateway.domain.event import Log
from gateway.errors import AgentError
from gateway.process.side_output import SideOutput, drop_log_prefix

#: lines that mean nothing to anybody but the authors of Gemini CLI, claude-agent-acp and Qwen Code; and lines of
#: opencode and of the protocol's JavaScript library about an error that the protocol tells, too
_ROUTINE_LINES = re.compile(
    r"Ripgrep is not available\b.*|\[STARTUP\].*|Could not find promptId in context\b.*|\[idle-compaction\].*"
    r"|.*\bmessage=process\b.*|Error handling request\b.*|\[perf\].*"
)


class AgentRemarks:
    """The remarks of one turn."""

    def __init__(self, retry_timeout: float) -> None:
        """Args: retry_timeout: seconds in which the model only fails until the turn fails, too."""
        #: the lines that wait to be shown
        self.output = SideOutput(self._describe_line)
        self._watch = RetryWatch(retry_timeout)
        self._has_failed = False
        self._reason = ""

    @property
    def final_error(self) -> AgentError | None:
        """The error of a turn that the agent has ended as if it were answered."""
        return failures.explain_model_error(self._reason.strip()) if self._has_failed else None

    def read_stray_text(self, text: str) -> None:
        """Take what the agent wrote to standard output that is no message."""
        for line in text.splitlines():
            self.output.read_line(line)

    def read_notification(self, method: str, params: dict[str, Any]) -> None:
        """Take a notification that is not in the protocol."""
        if method == "claude/sdkMessage" and (failed := failures.parse_claude_message(params)) is not None:
            self._show_failure(failed)
        elif isinstance(update := params.get("update"), dict) and update.get("sessionUpdate") == "notice":
            told = [part for part in (update.get("title"), update.get("description")) if isinstance(part, str)]
            self.output.show(f"the agent says: {': '.join(told)}"[:MAX_SHOWN_REASON_CHARACTERS])

    def read_update(self, update: Any) -> None:
        """Take an update of the session of the turn."""
        match update:
            case AgentMessageChunk(content=TextContentBlock(text=text)) if self._has_failed:
                self._reason = (self._reason + text)[:MAX_SHOWN_REASON_CHARACTERS]
            case AgentMessageChunk() | AgentThoughtChunk() | ToolCallStart() | ToolCallProgress():
                self._watch.note_answer()
            case SessionInfoUpdate(field_meta=meta):
                self._has_failed = self._has_failed or failures.has_codex_failed(meta)
                if (failed := failures.parse_codex_meta(meta)) is not None:
                    self._show_failure(failed)

    def _show_failure(self, failed: FailedTry) -> None:
        self.output.show(self._note_failure(failed))

    def _note_failure(self, failed: FailedTry) -> str:
        error = self._watch.note_failure(failed)
        if error is not None:
            self.output.fail(error)
        return f"{failed} (failed try {self._watch.count})"

    def _describe_line(self, line: str) -> str:
        if _is_routine(line):
            return ""
        failed = failures.parse_error_line(line)
        return self._note_failure(failed) if failed is not None else f"the agent writes: {line}"


def _is_routine(line: str) -> bool:
    return not line or _ROUTINE_LINES.fullmatch(line) is not None


def drop_routine(text: str) -> str:
    """Return a text from an agent's standard error without its routine lines, and without those that continue them."""
    lines, is_kept = [], True
    for line in text.splitlines():
        if line[:1] not in (" ", "\t"):
            is_kept = not _is_routine(drop_log_prefix(line))
        if is_kept:
            lines.append(line)
    return "\n".join(lines)


def make_log(line: str) -> Log:
    """Return the entry in the run's log for a line that is shown."""
    return Log(level="warning", message=line)
