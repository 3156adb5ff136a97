"""What an editor shows of events and messages."""

from __future__ import annotations

from typing import Any

import pytest

from cli.acp import updates


def text(kind: str, words: str) -> dict[str, Any]:
    return {"sessionUpdate": kind, "content": {"type": "text", "text": words}}


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("text", {"delta": "Hi"}, text("agent_message_chunk", "Hi")),
        ("text", {"delta": ""}, None),
        ("thinking", {"delta": "Hm"}, text("agent_thought_chunk", "Hm")),
        ("status", {"status": "queued"}, None),
        ("status", {"status": "running", "attempt": 1}, None),
        (
            "status",
            {"status": "running", "attempt": 2, "reason": "the gateway died"},
            text("agent_message_chunk", "\n\n[running, attempt 2: the gateway died]\n\n"),
        ),
        ("log", {"level": "info", "message": "x"}, None),
        (
            "log",
            {"level": "warning", "message": "the model is busy"},
            text("agent_thought_chunk", "\nthe model is busy\n"),
        ),
        (
            "log",
            {"level": "info", "message": "a new conversation", "notice": "session_restarted"},
            text("agent_thought_chunk", "\na new conversation\n"),
        ),
        ("usage", {"input": 1}, None),
        ("end", {"status": "succeeded", "outcome": "completed"}, None),
        ("of a newer gateway", {}, None),
    ],
)
def test_each_event_has_its_update(kind: str, data: dict[str, Any], shown: dict[str, Any] | None) -> None:
    assert updates.make_event_update("01R", kind, data) == shown


@pytest.mark.parametrize(
    ("args", "title", "more"),
    [
        ({"path": "ä"}, 'read {"path": "ä"}', {"rawInput": {"path": "ä"}}),
        ("ls -l", "read ls -l", {"rawInput": "ls -l"}),
        (None, "read", {}),
        ("x" * 300, "read " + "x" * 94 + "…", {"rawInput": "x" * 300}),
    ],
)
def test_a_tool_call_has_a_short_title_and_its_whole_input(args: Any, title: str, more: dict[str, Any]) -> None:
    data = {"id": "t1", "name": "read"} | ({} if args is None else {"args": args})

    assert updates.make_event_update("01R", "tool", data) == {
        "sessionUpdate": "tool_call",
        "toolCallId": "01R:t1",
        "title": title,
        "status": "in_progress",
        **more,
    }


def test_the_end_of_a_tool_call_has_its_output() -> None:
    ended = updates.make_event_update("01R", "tool_end", {"id": "t1", "name": "read", "output": "a file"})
    failed = updates.make_event_update("01R", "tool_end", {"id": "t1", "name": "read", "is_error": True})

    assert ended is not None
    assert (ended["toolCallId"], ended["status"], ended["rawOutput"]) == ("01R:t1", "completed", "a file")
    assert ended["content"] == [{"type": "content", "content": {"type": "text", "text": "a file"}}]
    assert failed == {"sessionUpdate": "tool_call_update", "toolCallId": "01R:t1", "status": "failed"}


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"outcome": "completed"}, "end_turn"),
        ({"outcome": "completed", "finish": "stop"}, "end_turn"),
        ({"outcome": "completed", "finish": "length"}, "max_tokens"),
        ({"outcome": "completed", "finish": "content_filter"}, "refusal"),
        ({"outcome": "completed", "finish": "of a newer gateway"}, "end_turn"),
        ({"outcome": "cancelled_by_user"}, "cancelled"),
        ({"outcome": "agent_error"}, None),
        ({"outcome": "timeout"}, None),
        ({"outcome": "over_budget"}, None),
    ],
)
def test_the_stop_reason_follows_from_the_end_of_the_run(end: dict[str, Any], reason: str | None) -> None:
    assert updates.read_stop_reason(end) == reason


def message(run: str, role: str, content: str, *files: dict[str, Any]) -> dict[str, Any]:
    return {"run_id": run, "role": role, "content": content, "files": [*files]}


def test_the_messages_of_a_transcript_are_told_apart_also_after_a_prompt_that_failed() -> None:
    messages = [message("1", "user", "a"), message("2", "user", "b"), message("2", "assistant", "")]
    shown = list(updates.make_transcript_updates(messages, str))

    assert [(one["sessionUpdate"], one["content"]["text"]) for one in shown] == [
        ("user_message_chunk", "a"),
        ("agent_message_chunk", "[The task 1 has no answer.]"),
        ("user_message_chunk", "b"),
        ("agent_message_chunk", "[The agent has ended without an answer.]"),
    ]
    assert len({one["messageId"] for one in shown}) == 4
    assert list(updates.make_transcript_updates([], str)) == []


def test_the_files_of_a_transcript_are_links_and_a_file_alone_is_an_answer() -> None:
    file = {"id": "01F", "name": "a.png", "media_type": "image/png", "size": 5}
    messages = [message("1", "user", "draw", file), message("1", "assistant", "", file)]
    shown = list(updates.make_transcript_updates(messages, lambda id_: f"http://localhost/{id_}"))

    link = {"type": "resource_link", "uri": "http://localhost/01F", "name": "a.png", "mimeType": "image/png", "size": 5}
    assert [(one["sessionUpdate"], one["content"]) for one in shown] == [
        ("user_message_chunk", {"type": "text", "text": "draw"}),
        ("user_message_chunk", link),
        ("agent_message_chunk", link),
    ]
