"""`gateway message`."""

from __future__ import annotations

from harness.command_line import Shell


def test_it_prints_the_id_at_once(shell: Shell) -> None:
    result = shell("message", "webchat", "anna", "Hello")

    assert (result.code, result.err) == (0, "")
    assert shell("tasks", "show", result.out.strip(), "--json").json["task"]["session"] == "main:webchat:anna"


def test_sync_waits_for_the_reply(shell: Shell) -> None:
    assert shell("message", "webchat", "bert", "--sync", "-", given="Hello\n") == (0, "echo: Hello\n", "")


def test_json_is_what_the_api_answers(shell: Shell) -> None:
    at_once = shell("message", "webchat", "cleo", "Hello", "--json").json
    waited = shell("message", "webchat", "cleo", "Hello", "--json", "--sync").json

    assert set(at_once) == {"status", "message_id"}
    assert set(waited) == {"status", "reply", "message_id", "session"}
    assert (waited["reply"], waited["session"]) == ("echo: Hello", "main:webchat:cleo")


def test_an_unknown_channel_is_named_with_those_that_there_are(shell: Shell) -> None:
    result = shell("message", "telegraf", "x", "Hello", "--json")

    assert (result.code, result.json["error"]["code"]) == (1, "CHANNEL_NOT_FOUND")
    assert "webchat" in result.err
