"""`gateway sessions`."""

from __future__ import annotations

from harness.command_line import Shell
from harness.live_gateway import Live

SESSION = {"key", "agentId", "channel", "chat_id", "title", "messages", "active", "created_at", "last_activity"}


def test_the_list_has_the_newest_first(shell: Shell) -> None:
    shell("agent", "--session", "listed-1", "x")
    shell("agent", "--session", "listed-2", "x")

    result = shell("sessions", "list", "--limit", "2")

    header, first, second = result.out.splitlines()
    assert header.split() == ["SESSION", "TITLE", "MESSAGES", "ACTIVE", "LAST", "ACTIVITY"]
    assert first.startswith("main:api:listed-2 ")
    assert second.startswith("main:api:listed-1 ")


def test_a_longer_list_says_that_there_is_more(shell: Shell) -> None:
    for name in ("more-1", "more-2"):
        shell("agent", "--session", name, "x")

    result = shell("sessions", "list", "--limit", "1")

    assert len(result.out.splitlines()) == 2
    assert result.err == "There are more. To see them, use --limit.\n"


def test_the_list_as_json_has_the_documented_shape(shell: Shell) -> None:
    shell("agent", "--session", "shaped", "x")

    found = shell("sessions", "list", "--json", "--limit", "1").json

    assert set(found) == {"sessions", "next_cursor"}
    assert set(found["sessions"][0]) == SESSION


def test_a_session_is_shown_by_its_name_or_its_key(shell: Shell) -> None:
    shell("agent", "--session", "shown", "Hello")

    for name in ("shown", "main:api:shown"):
        lines = shell("sessions", "show", name).out.splitlines()
        assert lines[1].startswith("user, ")
        assert [lines[2], lines[5]] == ["Hello", "echo: Hello"]


def test_a_session_as_json_has_the_documented_shape(shell: Shell) -> None:
    shell("agent", "--session", "shown-json", "Hello")

    found = shell("sessions", "show", "shown-json", "--json", "--limit", "1").json

    assert (set(found), set(found["session"])) == ({"session", "messages", "next_cursor"}, SESSION)
    assert [set(message) for message in found["messages"]] == [{"role", "content", "files", "at", "run_id"}]


def test_a_key_with_odd_characters_is_found(shell: Shell) -> None:
    shell("agent", "--session", "a/b?c#d e%2F", "Hello")

    assert shell("sessions", "show", "a/b?c#d e%2F", "--json").json["session"]["chat_id"] == "a/b?c#d e%2F"


def test_a_deleted_session_is_gone(shell: Shell) -> None:
    shell("agent", "--session", "deleted", "x")

    assert shell("sessions", "delete", "deleted") == (0, "Deleted deleted.\n", "")
    again = shell("sessions", "delete", "deleted", "--json")
    assert (again.code, again.json["error"]["code"]) == (1, "SESSION_NOT_FOUND")


def test_a_busy_session_is_deleted_by_force_only(shell: Shell, served: Live) -> None:
    served.call("POST", "/api/tasks", {"input": "@@ hang", "session": "main:api:busy"})

    polite, forced = (shell("sessions", "delete", "main:api:busy", *force, "--json") for force in ([], ["--force"]))

    assert (polite.code, polite.json["error"]["code"]) == (1, "CONFLICT")
    assert (forced.code, forced.json) == (0, {"status": "ok"})


def test_messages_are_found_by_their_words(shell: Shell) -> None:
    shell("agent", "--session", "searched", "the purple fox")

    words, told = shell("sessions", "search", "purple -zebra"), shell("sessions", "search", "purple", "--json").json

    assert words.out.splitlines()[0].startswith("main:api:searched: assistant, ")
    assert "  echo: the purple fox" in words.out.splitlines()
    assert [found["matches"] for found in told["results"]] == [["purple"], ["purple"]]
    assert set(told["results"][0]) == {"session", "agentId", "role", "at", "run_id", "snippet", "matches"}


def test_a_search_that_finds_nothing_says_so(shell: Shell) -> None:
    assert shell("sessions", "search", "nowheretobefound") == (0, "", "None.\n")


def test_a_session_is_renamed(shell: Shell) -> None:
    shell("agent", "--session", "renamed", "x")

    assert shell("sessions", "rename", "renamed", "My title") == (0, "Renamed renamed.\n", "")
    told = shell("sessions", "rename", "renamed", "Another", "--json").json
    assert (told["status"], told["session"]["title"]) == ("ok", "Another")
