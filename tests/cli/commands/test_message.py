"""`gateway message`."""

from __future__ import annotations

from pathlib import Path

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
    assert set(waited) == {"status", "reply", "files", "message_id", "session"}
    assert (waited["reply"], waited["session"]) == ("echo: Hello", "main:webchat:cleo")


def test_a_file_goes_along_and_one_that_the_agent_makes_is_saved(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("a log")
    words = ("message", "webchat", "dora", "--file", str(tmp_path / "log.txt"))

    waited = shell(*words, "@@ file chart.txt hello", "--sync", "--json", "--save", str(tmp_path / "out")).json
    task = shell("tasks", "show", waited["message_id"], "--json").json["task"]

    assert [file["name"] for file in task["attachments"]] == ["log.txt"]
    assert [file["path"] for file in waited["files"]] == [str(tmp_path / "out" / "chart.txt")]
    assert (tmp_path / "out" / "chart.txt").read_text() == "hello"


def test_nothing_can_be_saved_of_a_reply_that_is_not_waited_for(shell: Shell, tmp_path: Path) -> None:
    result = shell("message", "webchat", "emil", "Hello", "--save", str(tmp_path))

    assert result.code == 2
    assert "--save needs --sync" in result.err


def test_an_unknown_channel_is_named_with_those_that_there_are(shell: Shell) -> None:
    result = shell("message", "telegraf", "x", "Hello", "--json")

    assert (result.code, result.json["error"]["code"]) == (1, "CHANNEL_NOT_FOUND")
    assert "webchat" in result.err
