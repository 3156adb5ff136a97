"""What is asked and read on the terminal about one request of an agent."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from cli.questions import describe_action, read_question
from gateway.domain.question import AnswerContent, Question, check_answer
from gateway.domain.typed_answer import LEAVE_OUT, describe_field, describe_input, read_typed_value

_KEY_ANSWERS = {"y": "allow", "yes": "allow", "a": "allow_always", "always": "allow_always", "n": "deny", "no": "deny"}
_ANSWER_KEYS = {"allow": "[y]es", "allow_always": "[a]lways", "deny": "[n]o"}
#: the line that denies a question
DENY_LINE = "/deny"


class Dialog(Protocol):
    """Asks the user about one request, in one or more lines."""

    @property
    def prompt(self) -> str:
        """What to print before the user types a line."""
        ...

    def read_line(self, line: str) -> dict[str, Any] | None:
        """Return the body that answers the request; None if the user has to type more.

        Raises:
            InvalidRequest: the line is no answer. The user may try again.
        """
        ...


def open_dialog(data: dict[str, Any]) -> Dialog:
    """Return the dialog for a request, as its event shows it."""
    question = read_question(data)
    return _PermissionDialog(data) if question is None else _QuestionDialog(question, data)


class _PermissionDialog:
    """Asks for a permission, which one line answers."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    @property
    def prompt(self) -> str:
        offers = ", ".join(_ANSWER_KEYS[choice] for choice in self._data["choices"])
        return f"{describe_action(self._data)}\nAllow it? {offers} (denied at {format_deadline(self._data)}): "

    def read_line(self, line: str) -> dict[str, Any] | None:
        answer = _KEY_ANSWERS.get(line.lower())
        return {"answer": answer} if answer in self._data["choices"] else None


class _QuestionDialog:
    """Asks for the fields of a question, one after the other."""

    def __init__(self, question: Question, data: dict[str, Any]) -> None:
        self._question = question
        self._data = data
        self._left = [*question.fields]
        self._content: AnswerContent = {}

    @property
    def prompt(self) -> str:
        field = self._left[0]
        head = "" if field is not self._question.fields[0] else f"The agent asks: {self._question.message}\n"
        until = f"{DENY_LINE} if nobody answers; until {format_deadline(self._data)}"
        return f"{head}{describe_field(field)}\n{describe_input(field)} ({until}): "

    def read_line(self, line: str) -> dict[str, Any] | None:
        if line == DENY_LINE:
            return {"answer": "deny"}
        field = self._left[0]
        given = {} if line == LEAVE_OUT and not field.required else {field.name: read_typed_value(field, line)}
        only = Question(message="", fields=(field,))
        self._content |= check_answer(only, given, prefix="")
        self._left.pop(0)
        return None if self._left else {"answer": "answer", "content": self._content}


def format_deadline(data: dict[str, Any]) -> str:
    """Return until when a request can be answered."""
    return datetime.fromisoformat(data["expires_at"]).astimezone().strftime("%H:%M:%S %Z")
