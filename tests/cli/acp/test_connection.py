"""The connection to an editor: its answers find our requests, and waiting requests are bounded."""

from __future__ import annotations

import io
import json
import queue
from typing import Any

import pytest

from cli.acp.connection import MAX_OPEN_EDITOR_REQUESTS, EditorConnection
from cli.remote.message_pipe import MessagePipe
from gateway.errors import AgentError, InvalidRequest, SessionNotFound, Unauthorized, Unavailable
from harness.waiting import PATIENCE


def connect(*given: dict[str, Any]) -> tuple[EditorConnection, io.BytesIO]:
    """Return a connection on which an editor sends these messages, and what is sent to it."""
    lines, out = io.BytesIO(b"".join(json.dumps(message).encode() + b"\n" for message in given)), io.BytesIO()
    return EditorConnection(MessagePipe(lines, out, 1 << 20), {}), out  # type: ignore[arg-type]


def sent(out: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("answer", "taken"),
    [({"result": {"a": 1}}, {"a": 1}), ({"result": None}, None), ({"error": {"code": 1, "message": "no"}}, None)],
)
def test_an_answer_reaches_who_asked(answer: dict[str, Any], taken: dict[str, Any] | None) -> None:
    connection, out = connect({"jsonrpc": "2.0", "id": 1, **answer}, {"jsonrpc": "2.0", "method": "next"})
    got: queue.Queue[dict[str, Any] | None] = queue.Queue()
    connection.send_request("session/request_permission", {}, got.put)

    assert [message["method"] for message in connection.read_requests()] == ["next"]
    assert got.get(timeout=PATIENCE) == taken
    assert sent(out)[0]["id"] == 1


def test_a_withdrawn_request_takes_no_answer() -> None:
    connection, out = connect({"jsonrpc": "2.0", "id": 1, "result": {}})
    got: list[Any] = []
    connection.withdraw_request(connection.send_request("session/request_permission", {}, got.append))
    connection.withdraw_request(1)

    assert list(connection.read_requests()) == []
    assert got == []
    assert [message["method"] for message in sent(out)[1:]] == ["$/cancel_request"]
    assert sent(out)[1]["params"] == {"requestId": 1}


def test_only_so_many_requests_wait_for_an_answer() -> None:
    connection, _ = connect()
    for _ in range(MAX_OPEN_EDITOR_REQUESTS):
        first = connection.send_request("ask", {}, print)

    with pytest.raises(Unavailable):
        connection.send_request("ask", {}, print)
    connection.withdraw_request(first)
    connection.send_request("ask", {}, print)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SessionNotFound("no session."), -32002, "no session."),
        (InvalidRequest("wrong."), -32602, "wrong."),
        (AgentError("it broke.", remedy="Try again."), -32603, "it broke. Try again."),
        (AgentError("the model is away", remedy="See: x"), -32603, "the model is away. See: x"),
        # -32000 would make the editor ask the user to sign in
        (Unauthorized("the token is refused."), -32603, "the token is refused."),
        (KeyError("x"), -32603, "this command failed unexpectedly: KeyError: 'x'"),
    ],
)
def test_an_error_has_its_code_and_words_for_the_user(error: Exception, code: int, message: str) -> None:
    connection, out = connect()
    connection.send_error("a", error)

    [answer] = sent(out)
    assert (answer["id"], answer["error"]["code"], answer["error"]["message"]) == ("a", code, message)


def test_the_commands_of_an_error_reach_the_gateway_of_the_editor() -> None:
    out = io.BytesIO()
    connection = EditorConnection(
        MessagePipe(io.BytesIO(), out, 1 << 20),  # type: ignore[arg-type]
        {"MOONGATE_CONFIG": "/work.json"},
    )
    connection.send_error("a", AgentError("it broke.", remedy="See: gateway tasks show 01"))

    assert sent(out)[0]["error"]["message"] == "it broke. See: gateway --config /work.json tasks show 01"
