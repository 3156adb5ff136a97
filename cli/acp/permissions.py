"""Shows the permission requests and questions of a run in the editor, and sends its answers to the gateway."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from cli.acp import forms
from cli.acp.connection import AnswerReader, EditorConnection
from cli.acp.updates import Update, make_call_id, make_text_update
from cli.questions import describe_request, format_answer, read_question, suggest_command
from gateway.domain.question import Question
from gateway.errors import Conflict, GatewayError, Unavailable

_OPTIONS = {
    "allow": {"optionId": "allow", "name": "Allow", "kind": "allow_once"},
    "allow_always": {"optionId": "allow_always", "name": "Always allow", "kind": "allow_always"},
    "deny": {"optionId": "deny", "name": "Deny", "kind": "reject_once"},
}


class RequestCalls(Protocol):
    """Calls the gateway about the requests of a run."""

    def is_request_open(self, run: str, request: str) -> bool: ...

    def answer_request(self, run: str, request: str, body: Mapping[str, object]) -> None: ...


class _Shown(NamedTuple):
    """A request that the editor shows."""

    #: id of our request to the editor; None if the editor only shows how to answer
    asked: int | None
    #: id of the tool call that stands for it; None for a question
    call: str | None


class EditorPermissions:
    """The open requests of one run, in one session of the editor."""

    def __init__(
        self, connection: EditorConnection, gateway: RequestCalls, session: str, run: str, *, shows_forms: bool
    ) -> None:
        self._connection = connection
        self._gateway = gateway
        self._session = session
        self._run = run
        self._shows_forms = shows_forms
        #: what the editor shows, by the id of the request
        self._shown: dict[str, _Shown] = {}
        self._lock = threading.Lock()

    def handle_event(self, data: Mapping[str, Any]) -> None:
        """Show a request that waits, or remove one that has its answer, from wherever."""
        if data.get("answer"):
            self._remove_request(data)
            return
        if not self._gateway.is_request_open(self._run, data["id"]):
            return  # its answer is among the next events
        question = read_question(data)
        try:
            shown = self._ask_permission(data) if question is None else self._ask_question(data, question)
        except Unavailable:  # too many are shown
            self._explain_answer(data)
            return
        with self._lock:
            self._shown[data["id"]] = shown

    def __enter__(self) -> EditorPermissions:
        return self

    def __exit__(self, *exc: object) -> None:
        self.withdraw_requests()

    def withdraw_requests(self) -> None:
        """Withdraw what the editor still shows: the run has ended, or is shown no longer."""
        with self._lock:
            shown, self._shown = self._shown, {}
        for one in shown.values():
            if one.asked is not None:
                self._connection.withdraw_request(one.asked)

    def _ask_permission(self, data: Mapping[str, Any]) -> _Shown:
        call = make_call_id(self._run, data["id"])
        options = [_OPTIONS[choice] for choice in data["choices"] if choice in _OPTIONS]
        tool = {"toolCallId": call, "title": data["action"], "status": "pending"}
        self._send_update({"sessionUpdate": "tool_call", **tool})

        def take(result: dict[str, Any] | None) -> None:
            if result is None:
                self._explain_answer(data)
            outcome = (result or {}).get("outcome")
            chosen = outcome.get("optionId") if isinstance(outcome, dict) else None
            if chosen in data["choices"]:  # else the user has cancelled: the request waits for others
                self._send_answer(data, {"answer": chosen})

        params = {"sessionId": self._session, "toolCall": tool, "options": options}
        return _Shown(self._connection.send_request("session/request_permission", params, take), call)

    def _ask_question(self, data: Mapping[str, Any], question: Question) -> _Shown:
        if not self._shows_forms:
            self._explain_answer(data)
            return _Shown(None, None)
        params = {"sessionId": self._session, **forms.make_form(question)}
        return _Shown(
            self._connection.send_request("elicitation/create", params, self._make_reader(data, question)), None
        )

    def _make_reader(self, data: Mapping[str, Any], question: Question) -> AnswerReader:
        def take(result: dict[str, Any] | None) -> None:
            if result is None:
                self._explain_answer(data)
            body = forms.read_form(question, result)
            if body is not None:
                self._send_answer(data, body)

        return take

    def _send_answer(self, data: Mapping[str, Any], body: Mapping[str, object]) -> None:
        try:
            self._gateway.answer_request(self._run, data["id"], body)
        except Conflict:
            pass  # somebody else was faster; the event of that answer is on its way
        except GatewayError as error:
            said = f"\n\n[your answer did not reach the agent: {self._connection.describe_error(error)}]\n\n"
            self._send_update(make_text_update("agent_message_chunk", said))
            self._explain_answer(data)

    def _explain_answer(self, data: Mapping[str, Any]) -> None:
        """Say in the conversation how to answer a request that the editor does not show, or shows no longer."""
        command = self._connection.complete_commands(suggest_command(self._run, data))
        self._send_update(
            make_text_update("agent_message_chunk", f"\n\n{describe_request(data)}\nAnswer: {command}\n\n")
        )

    def _remove_request(self, data: Mapping[str, Any]) -> None:
        with self._lock:
            shown = self._shown.pop(data["id"], None)
        if shown is None:
            return
        if shown.asked is not None:
            self._connection.withdraw_request(shown.asked)
        if shown.call is not None:
            who = f" ({data['by']})" if data.get("by") else ""
            self._send_update(
                {
                    "sessionUpdate": "tool_call_update",
                    "toolCallId": shown.call,
                    "status": "failed" if data["answer"] == "deny" else "completed",
                    "rawOutput": f"{format_answer(dict(data))}{who}",
                }
            )

    def _send_update(self, update: Update) -> None:
        self._connection.send_update(self._session, update)
