"""Requests of an agent that the editor cannot show, or whose answer did not arrive."""

from __future__ import annotations

import io
import json
import queue
from collections.abc import Mapping
from typing import Any

import pytest

from cli.acp.connection import MAX_OPEN_EDITOR_REQUESTS, EditorConnection
from cli.acp.permissions import EditorPermissions
from cli.remote.message_pipe import MessagePipe
from gateway.errors import InvalidRequest
from harness.waiting import PATIENCE

QUESTION = {"message": "How many?", "fields": [{"name": "count", "title": "count", "type": "integer"}]}
REQUEST = {"id": "p1", "action": "How many?", "choices": ["answer", "deny"], "question": QUESTION}
HINT = "\n\nThe agent asks: How many?\ncount\nAnswer: gateway tasks answer 01 p1 ANSWER | deny\n\n"


class Calls:
    """Refuses every answer."""

    def is_request_open(self, run: str, request: str) -> bool:
        return True

    def answer_request(self, run: str, request: str, body: Mapping[str, object]) -> None:
        raise InvalidRequest("content.count: it must be an integer.")


class Out(io.RawIOBase):
    """Keeps the texts that the editor is shown."""

    def __init__(self) -> None:
        self.texts: queue.Queue[str] = queue.Queue()

    def write(self, data: Any) -> int:
        message = json.loads(bytes(data))
        if message["method"] == "session/update":
            self.texts.put(message["params"]["update"]["content"]["text"])
        return len(data)


@pytest.fixture
def out() -> Out:
    return Out()


def show_request(out: Out, *given: dict[str, Any]) -> EditorConnection:
    """Show the request in an editor with forms that sends these messages."""
    lines = io.BytesIO(b"".join(json.dumps(message).encode() + b"\n" for message in given))
    connection = EditorConnection(MessagePipe(lines, out, 1 << 20), {})
    if not given:
        for _ in range(MAX_OPEN_EDITOR_REQUESTS):
            connection.send_request("ask", {}, print)
    EditorPermissions(connection, Calls(), "s", "01", shows_forms=True).handle_event(REQUEST)
    return connection


def test_a_request_more_than_the_editor_can_show_says_how_to_answer_it(out: Out) -> None:
    show_request(out)

    assert out.texts.get(timeout=PATIENCE) == HINT


def test_after_an_answer_that_was_refused_the_conversation_says_how_to_answer(out: Out) -> None:
    answer = {"action": "accept", "content": {"count": "many"}}
    list(show_request(out, {"jsonrpc": "2.0", "id": 1, "result": answer}).read_requests())

    assert "your answer did not reach the agent: content.count: it must" in out.texts.get(timeout=PATIENCE)
    assert out.texts.get(timeout=PATIENCE) == HINT


def test_an_editor_that_answers_with_an_error_is_told_how_to_answer(out: Out) -> None:
    error = {"code": -32601, "message": "there is no such method"}
    list(show_request(out, {"jsonrpc": "2.0", "id": 1, "error": error}).read_requests())

    assert out.texts.get(timeout=PATIENCE) == HINT
