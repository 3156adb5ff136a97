"""`gateway agent`."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.command_line import Shell, next_line
from harness.live_gateway import Live
from harness.waiting import PATIENCE

#: answers what it is told
CAT = {"id": "main", "backend": "command", "command": ["cat"]}


def runs(live: Live, session: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = live.call("GET", f"/api/tasks?session=main:api:{session}").body["tasks"]
    return found


def test_the_answer_is_printed_and_nothing_else(shell: Shell) -> None:
    assert shell("agent", "--session", "plain", "Hello there") == (0, "echo: Hello there\n", "")


@pytest.mark.parametrize("words", [[], ["-"]], ids=["nothing", "dash"])
def test_the_message_is_read_from_the_input(words: list[str], shell: Shell) -> None:
    result = shell("agent", "--session", "piped", *words, given="of two\nlines\n")

    assert result.out == "echo: of two\nlines\n"


def test_an_answer_that_was_cut_says_so_on_the_error_stream(shell: Shell) -> None:
    said = "@@ say half\n@@ finish length"
    plain, as_json = shell("agent", "--session", "cut", said), shell("agent", "--json", "--session", "cut", said)
    shown = shell("tasks", "show", as_json.json["run_id"])

    assert (plain.code, plain.out) == (0, "half\n")
    assert "The answer is not complete: it reached a limit" in plain.err
    assert (as_json.json["reply"], as_json.json["finish"]) == ("half", "length")
    assert "The answer is not complete" in shown.out


def test_an_empty_message_is_wrong_usage(shell: Shell) -> None:
    assert shell("agent", given="").code == 2


def test_at_a_terminal_without_a_message_it_does_not_wait_for_one(shell: Shell) -> None:
    with shell.terminal("agent") as at:
        assert at.end() == 2

    assert "nothing to send" in at.shown


def test_json_is_what_the_api_answers(shell: Shell) -> None:
    result = shell("agent", "--json", "--session", "as-json", "Hi")

    assert set(result.json) == {"status", "reply", "files", "finish", "session", "run_id", "usage"}
    assert (result.json["reply"], result.json["session"]) == ("echo: Hi", "as-json")
    assert set(result.json["usage"]) == {"input", "output", "cached", "cost", "tokens_known", "cost_known"}


def test_files_are_sent_with_the_message_in_their_order(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "error.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    words = ("--session", "files", "--file", str(tmp_path / "error.png"), "--file", "-", "--json")

    answer = shell("agent", "@@ read", *words, given="a log\n").json
    task = shell("tasks", "show", answer["run_id"], "--json").json["task"]

    came = [(file["name"], file["media_type"], file["size"]) for file in task["attachments"]]
    assert came == [("error.png", "image/png", 8), ("stdin.txt", "text/plain", 6)]
    sums = [hashlib.sha256(data).hexdigest() for data in (b"\x89PNG\r\n\x1a\n", b"a log\n")]
    assert answer["reply"].split() == sums


def test_files_that_the_agent_makes_are_named_with_the_command_that_gets_them(shell: Shell) -> None:
    words = ("agent", "--session", "makes", "@@ say done\n@@ file chart.txt hello")

    plain, as_json = shell(*words), shell(*words, "--json").json
    with shell.terminal(*words) as at:
        assert at.end() == 0

    [made] = as_json["files"]
    assert (made["name"], made["media_type"], made["size"]) == ("chart.txt", "text/plain", 5)
    assert made["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert plain.out == "done\n"
    assert "made chart.txt (text/plain, 5 bytes): gateway files get 01" in plain.err
    assert "made chart.txt (text/plain, 5 bytes)" in at.shown


def test_an_answer_that_is_a_file_alone_is_not_called_empty(shell: Shell) -> None:
    with shell.terminal("agent", "--session", "file-alone", "@@ file chart.txt hello") as at:
        assert at.end() == 0

    assert "without an answer" not in at.shown


def test_save_puts_the_made_files_in_a_directory_and_overwrites_nothing(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    words = ("agent", "--session", "saves", "--save", str(out))

    first = shell(*words, "@@ file chart.txt one\n@@ file chart.txt two")
    second = shell(*words, "--json", "@@ file chart.txt three").json

    assert f"Saved {out / 'chart.txt'}." in first.err
    assert [file["path"] for file in second["files"]] == [str(out / "chart-3.txt")]
    assert {file.name: file.read_text() for file in out.iterdir()} == {
        "chart.txt": "one",
        "chart-2.txt": "two",
        "chart-3.txt": "three",
    }


def test_save_also_saves_what_an_agent_made_before_it_failed(shell: Shell, tmp_path: Path) -> None:
    words = "agent", "--session", "saves-failed", "--save", str(tmp_path), "@@ file chart.txt half\n@@ fail oops"
    result = shell(*words)

    assert (result.code, (tmp_path / "chart.txt").read_text()) == (1, "half")
    assert "oops" in result.err


def test_an_agent_whose_files_are_saved_is_told_where_to_put_them(alone: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = alone
    live.config.write_text(json.dumps({"gateway": {"port": 0}, "agents": {"list": [CAT]}}))
    live.start()

    told, plain = shell("agent", "Draw", "--save", str(tmp_path / "out")), shell("agent", "Draw")

    assert told.out.startswith("Draw\n\n(Files that you write into ")
    assert plain.out == "Draw\n"


def test_a_directory_that_cannot_be_saved_in_is_refused_before_the_agent_works(
    shell: Shell, served: Live, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    result = shell("agent", "--session", "unsaved", "Hi", "--save", str(tmp_path / "file" / "below"))

    assert (result.code, runs(served, "unsaved")) == (2, [])
    assert "cannot write to" in result.err


def test_json_with_stream_is_a_line_for_each_event_and_then_the_answer(shell: Shell) -> None:
    *events, last = shell("agent", "--json", "--stream", "--session", "lines", "Hi").lines

    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["data"]["kind"] == "end"
    assert last["reply"] == "echo: Hi"


@pytest.mark.parametrize("notice", ["session_restarted", "context_shortened"])
def test_it_tells_what_the_agent_did_not_have_of_the_conversation(shell: Shell, notice: str) -> None:
    words = ("--session", "noticed", f"@@ notice {notice}\n@@ say yes")

    assert shell("agent", *words) == (0, "yes\n", f"· told to notice {notice}.\n")
    assert shell("agent", "--json", *words).json[notice] is True
    assert notice in shell("agent", "--json", "--stream", *words).lines[-1]


def test_a_session_is_a_conversation(shell: Shell) -> None:
    shell("agent", "--session", "talk", "one")

    assert shell("agent", "--session", "talk", "@@ history").out == "2 messages\n"


def test_a_failed_agent_exits_1_and_says_why_and_where_to_look(shell: Shell) -> None:
    result = shell("agent", "--session", "failing", "@@ fail no luck today")

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("no luck today. See: gateway tasks show 01")


def test_a_failed_agent_as_json_has_code_and_run(shell: Shell) -> None:
    result = shell("agent", "--json", "--session", "failing", "@@ fail no luck today")

    assert result.code == 1
    assert result.json["error"]["code"] == "AGENT_ERROR"
    assert set(result.json["error"]["details"]) == {"run_id", "outcome"}


def test_a_timeout_ends_it(shell: Shell) -> None:
    result = shell("agent", "--timeout", "0.2", "--json", "--session", "slow", "@@ hang")

    assert (result.code, result.json["error"]["code"]) == (1, "TIMEOUT")


def test_an_unknown_agent_is_named_with_those_that_there_are(shell: Shell) -> None:
    result = shell("agent", "--agent", "nobody", "hi")

    assert (result.code, result.err) == (1, "there is no agent 'nobody'. There are: main.\n")


def test_the_answer_comes_as_it_is_written(shell: Shell, served: Live) -> None:
    process = shell.start("agent", "--stream", "--session", "streaming", "@@ say first words\n@@ hang")
    assert process.stdout is not None

    came = process.stdout.read(len("first words"))
    still_going = process.poll() is None and runs(served, "streaming")[0]["status"] == "running"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)

    assert (came, still_going) == ("first words", True)
    served.call("POST", f"/api/tasks/{runs(served, 'streaming')[0]['id']}/cancel")


def test_at_a_terminal_it_streams_and_ctrl_c_leaves_the_run_going(shell: Shell, served: Live) -> None:
    with shell.terminal("agent", "--session", "left", "@@ say so far\n@@ hang") as at:
        at.wait_for("so far")
        at.press("\x03")
        code = at.end()

    (run,) = runs(served, "left")
    assert (code, run["status"]) == (130, "running")
    assert f"Left; the task goes on.\r\n   Come back: gateway tasks watch {run['id']}" in at.shown
    assert "❌" not in at.shown
    served.call("POST", f"/api/tasks/{run['id']}/cancel")


def test_at_a_terminal_it_shows_what_it_waits_for(shell: Shell, served: Live) -> None:
    with shell.terminal("agent", "--session", "waited-for", "@@ hang") as first:
        first.wait_for("waiting for the answer")
        with shell.terminal("agent", "--session", "waited-for", "second") as second:
            second.wait_for("waiting for its turn")
            first.press("\x03")
            assert first.end() == 130
            served.call("POST", f"/api/tasks/{runs(served, 'waited-for')[1]['id']}/cancel")
            assert second.end() == 0

    assert second.shown.endswith("echo: second\r\n")


def test_what_an_agent_says_cannot_take_over_the_terminal(shell: Shell) -> None:
    with shell.terminal("agent", "--session", "escape", "evil \x1b]0;title\x07\x9b31m\u202e") as at:
        at.end()
    with shell.terminal("agent", "--session", "escape", "--json", "--stream", "evil \x9b31m\x7f\u202e") as as_json:
        as_json.end()
    with shell.terminal("sessions", "show", "escape") as transcript:
        transcript.end()
    piped = shell("agent", "--session", "escape", "evil \x1b[31m\u202e")

    for shown in (at.shown, as_json.shown, transcript.shown):
        assert "evil" in shown
        assert not any(unsafe in shown for unsafe in ("\x1b]0;", "\x9b", "\x7f", "\u202e"))
    assert piped.out == "echo: evil \u202e\n", (
        "a pipe gets the text as it is, without what a program wrote for a terminal"
    )


def test_a_crash_of_the_gateway_in_between_is_survived(alone: tuple[Live, Shell], live: Callable[..., Live]) -> None:
    own, shell = alone
    own.start()
    process = shell.start("agent", "--json", "--stream", "@@ sleep 1\n@@ say survived", stderr=subprocess.PIPE)
    while next_line(process.stdout)["data"].get("status") != "running":
        pass
    own.kill()
    own.start()

    out, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert '"reply": "survived"' in out.splitlines()[-1]
    assert len(runs(own, "default")) == 1


def test_an_agent_that_asks_itself_by_this_command_does_so_only_so_deep(
    tmp_path: Path, live: Callable[..., Live]
) -> None:
    ask_again = f'{sys.executable} -m cli.main agent --agent loop --session "s$MOONGATE_DEPTH" again'
    script = f"MOONGATE_HOME={tmp_path / 'home'} exec {ask_again}"
    loop = {"id": "loop", "backend": "command", "command": ["sh", "-c", script]}
    made = live(config={"agents": {"list": [loop]}, "limits": {"depth": 1}}).start()

    result = Shell(made.env, tmp_path)("agent", "--agent", "loop", "--session", "first", "begin")

    assert result.code == 1
    assert "agents have asked one another 2 deep, and 1 is the limit" in result.err
