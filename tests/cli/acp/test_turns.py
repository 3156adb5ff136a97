"""A run that an editor follows: what is shown at its end, and a cancel that fails at first."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cli.acp import turns
from cli.acp.connection import EditorConnection
from cli.acp.requests import PromptContent
from cli.acp.turns import Turn
from cli.remote.message_pipe import MessagePipe
from cli.remote.sse import Event
from gateway.errors import Conflict, GatewayError, NotFound, NotRunning, TooLarge, Unauthorized, Unavailable

HELLO = PromptContent("hello", [])
END = {"kind": "end", "status": "succeeded", "outcome": "completed", "result": "done"}


class Calls:
    """A gateway whose run has these events, and which answers tries to cancel it with these errors, then accepts."""

    def __init__(
        self, *events: dict[str, Any], errors: list[GatewayError] | None = None, refusal: GatewayError | None = None
    ) -> None:
        self.events = events
        self.errors = errors or []
        #: why it takes no prompt, if it takes none
        self.refusal = refusal
        self.cancelled = 0
        #: whether the content of its files is
        self.is_gone = False

    def connect(self) -> None:
        return None

    def start_run(self, session: str, agent: str, content: PromptContent, model: str | None) -> tuple[str, None]:
        if self.refusal is not None:
            raise self.refusal
        return "01", None

    def follow_run(self, run: str, tell: Callable[[str], None], opened: None) -> Iterator[Event]:
        for number, data in enumerate(self.events, 1):
            yield Event(number, data["kind"], data)

    def locate_file(self, file: str) -> str:
        return f"http://localhost/api/files/{file}"

    def read_file(self, file: str) -> bytes:
        if self.is_gone:
            raise NotFound("it is gone.")
        return b"bytes"

    def cancel_run(self, run: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.cancelled += 1


def make_turn(calls: Calls, run: str | None = None) -> tuple[Turn, io.BytesIO]:
    """Return a turn, and what is sent to the editor."""
    out = io.BytesIO()
    connection = EditorConnection(MessagePipe(io.BytesIO(), out, 1 << 20), {})  # type: ignore[arg-type]
    return Turn(connection, calls, "s", shows_forms=False, run=run), out  # type: ignore[arg-type]


def shown(out: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line)["params"]["update"] for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("then", [{"kind": "status", "status": "queued", "reason": "its gateway ended"}, END])
def test_a_tool_that_was_interrupted_has_ended_before_anything_else_is_shown(then: dict[str, Any]) -> None:
    ended = {"kind": "tool_end", "id": "b", "name": "ls"}
    tools = [{"kind": "tool", "id": id_, "name": "ls"} for id_ in "ab"]
    turn, out = make_turn(Calls(*tools, ended, then, {**END, "result": "x"}))
    turn.prompt("a:acp:s", "a", HELLO, None, None)

    updates = [(one.get("toolCallId"), one.get("status")) for one in shown(out)[:4]]
    assert updates == [
        ("01:a", "in_progress"),
        ("01:b", "in_progress"),
        ("01:b", "completed"),
        ("01:a", "failed"),
    ]
    assert len([one for one in shown(out) if one.get("toolCallId")]) == 4


def test_an_empty_answer_says_so() -> None:
    turn, out = make_turn(Calls({**END, "result": ""}))

    assert turn.prompt("a:acp:s", "a", HELLO, None, None)["stopReason"] == "end_turn"
    assert [one["content"]["text"] for one in shown(out)] == ["[The agent has ended without an answer.]"]


@pytest.mark.parametrize(
    ("media_type", "size", "is_gone", "kinds"),
    [
        ("image/png", 5, False, ["image"]),
        ("image/png", 5, True, ["resource_link", "text"]),
        ("image/png", 50_000_000, False, ["resource_link", "text"]),
        ("image/svg+xml", 5, False, ["resource_link", "text"]),
        ("application/pdf", 5, False, ["resource_link", "text"]),
    ],
)
def test_a_file_is_shown_as_a_picture_or_a_link_and_is_an_answer(
    media_type: str, size: int, is_gone: bool, kinds: list[str]
) -> None:
    made = {"kind": "file", "id": "01F", "name": "a", "media_type": media_type, "size": size}
    calls = Calls(made, {**END, "result": ""})
    calls.is_gone = is_gone
    turn, out = make_turn(calls)
    turn.prompt("a:acp:s", "a", HELLO, None, None)

    blocks = [one["content"] for one in shown(out)]
    assert [block["type"] for block in blocks] == kinds
    assert (blocks[0]["uri"], blocks[0]["mimeType"]) == ("http://localhost/api/files/01F", media_type)
    if kinds == ["image"]:
        assert base64.b64decode(blocks[0]["data"]) == b"bytes"
    else:
        assert "gateway files get 01F" in blocks[1]["text"]


@pytest.mark.parametrize(
    ("errors", "cancelled", "said"),
    [
        ([NotRunning("it is away."), Unavailable("it is away.")], 1, 0),
        ([Conflict("it has ended.")], 0, 0),
        ([Unauthorized("the token is refused.")], 0, 1),
    ],
)
def test_a_run_is_cancelled_as_soon_as_the_gateway_is_back(
    monkeypatch: pytest.MonkeyPatch, errors: list[GatewayError], cancelled: int, said: int
) -> None:
    monkeypatch.setattr(turns, "RECONNECT_POLL_SECONDS", 0.0)
    calls = Calls(errors=errors)
    turn, out = make_turn(calls, "01")
    turn.cancel()

    assert (calls.cancelled, len(shown(out))) == (cancelled, said)


def test_a_prompt_that_is_refused_after_it_was_cancelled_is_cancelled() -> None:
    turn, _ = make_turn(Calls(refusal=TooLarge("it is too large.")))
    turn.cancel()

    assert turn.prompt("a:acp:s", "a", HELLO, None, None) == {"stopReason": "cancelled"}


def test_a_prompt_that_may_have_been_accepted_is_not_called_cancelled() -> None:
    turn, _ = make_turn(Calls(refusal=Unavailable("it is away.")))
    turn.cancel()

    with pytest.raises(Unavailable):
        turn.prompt("a:acp:s", "a", HELLO, None, None)


def test_a_cancel_that_never_reaches_the_gateway_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "RETURN_TIMEOUT_SECONDS", 0.0)
    turn, out = make_turn(Calls(errors=[NotRunning("it is away.")]), "01")
    turn.cancel()

    assert shown(out)[0]["content"]["text"] == "\nCannot cancel the task 01: it is away.\n"
