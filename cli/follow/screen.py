"""Shows the events of a run: the answer on stdout, everything else dim on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from cli import output
from cli.files.shown import describe_with_command
from cli.questions import format_answer
from cli.remote.sse import Event
from gateway.domain.run import FinishReason

#: characters of a tool's arguments or output that are shown
MAX_DETAIL_CHARACTERS = 100
#: a policy's answers as agents that speak ACP call them, in the words of people's answers
_POLICY_ANSWERS = {"allow_once": "allow", "reject_once": "deny", "reject_always": "deny", "cancelled": "deny"}


class EventScreen:
    """Prints events as they arrive: the answer on stdout, everything else dim on stderr."""

    def __init__(
        self,
        begin: Callable[[], None],
        *,
        text: bool,
        talk: bool,
        notices: bool = True,
        note: Callable[[str], None] = output.print_note,
    ) -> None:
        #: called before text is printed, and called with a whole line that may stand above the spinner
        self._begin, self._note = begin, note
        #: whether to print the answer, and whether to print what else happens
        self._text = text
        self._talk = talk
        #: whether to print which files there are, and a remark that changes what the answer means, even if nothing else
        #: is printed
        self._notices = notices
        #: ids of the requests that are questions
        self._questions: set[str] = set()
        #: whether the agent has made a file
        self._has_files = False
        #: kind of the text on the line that has not ended; empty if there is none
        self._open = ""

    def __call__(self, event: Event) -> None:
        kind, data = event.kind, event.data
        if data.get("question"):
            self._questions.add(data["id"])
        self._has_files = self._has_files or kind == "file"
        if kind == "text" and self._text:
            self._write_delta("text", data["delta"])
        elif kind == "thinking" and self._talk:
            self._write_delta("thinking", data["delta"])
        elif kind == "end":
            self.end_line()
            if not self._talk and (remark := describe_finish(data.get("finish"))):  # else its log line was printed
                self._note(remark)
            if self._talk and data.get("result") == "" and not self._has_files:
                self._note("The agent has ended without an answer.")
        elif (self._talk or (self._notices and (kind == "file" or data.get("notice")))) and (
            said := _describe_event(kind, data, self._questions)
        ):
            self.end_line()
            self._note(said)

    def end_line(self) -> None:
        """End the current line, if it has not ended."""
        if self._open:
            (output.print_note if self._open == "thinking" else output.print_text)("")
        self._open = ""

    def _write_delta(self, kind: str, delta: str) -> None:
        if not delta:
            return
        self._begin()
        if self._open != kind:
            self.end_line()
        (output.print_text if kind == "text" else output.print_note)(delta, end="")
        self._open = "" if delta.endswith("\n") else kind


def _describe_event(kind: str, data: dict[str, Any], questions: Collection[str]) -> str:
    """Return a line about an event; empty if it tells the user nothing."""
    match kind:
        case "status":
            return _describe_status(data)
        case "tool":
            about = _format_arguments(data.get("args")) or data.get("title", "")
            return output.shorten_text(f"· {data['name']} {about}", MAX_DETAIL_CHARACTERS)
        case "tool_end":
            return _describe_tool_end(data)
        case "permission":
            return _describe_permission(data, is_question=data["id"] in questions)
        case "file":
            return f"· made {describe_with_command(data)}"
        case "log":
            return f"· {data['message']}"
    return ""


def _describe_tool_end(data: dict[str, Any]) -> str:
    took = f" after {data['seconds']:.1f} s" if data.get("seconds") is not None else ""
    said = " ".join(data.get("output", "")[: 2 * MAX_DETAIL_CHARACTERS].split())
    how = f"· {'failed' if data.get('is_error') else 'done'}{took}"
    return output.shorten_text(f"{how}: {said}" if said else how, MAX_DETAIL_CHARACTERS)


def describe_finish(finish: str | None) -> str:
    """Return why an answer is not complete; empty if it is."""
    remark = FinishReason(finish).remark if finish in set(FinishReason) else ""
    return remark[:1].upper() + remark[1:]


def _describe_permission(data: dict[str, Any], *, is_question: bool) -> str:
    """Return how a request was answered; empty for an open one, which `permission_prompt` shows."""
    if not data.get("answer"):
        return ""
    how = {"deadline": "nobody answered in time", "withdrawn": "the agent no longer waits"}
    who = f"by {data['by']}" if data.get("by") else how.get(data.get("reason", ""), "by the agent's permissions")
    asked = output.shorten_text(data["action"], MAX_DETAIL_CHARACTERS)
    answer = _POLICY_ANSWERS.get(data["answer"]) or format_answer(data)
    return f"· asked {'' if is_question else 'to '}{asked}: {answer}, {who}"


def _format_arguments(given: Any) -> str:
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False) if given else ""


def _describe_status(data: dict[str, Any]) -> str:
    """Return a line about a change of status, unless it is a normal one of a first attempt."""
    attempt, reason = data.get("attempt", 0), data.get("reason")
    if attempt < 2 and not reason:
        return ""
    return f"· {data['status']}, attempt {attempt}" + (f": {reason}" if reason else "")
