"""`gateway logs`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from gateway.supervisor.logfile import LogFile
from harness.command_line import Shell, next_line
from harness.live_gateway import Live
from harness.waiting import PATIENCE


def entry(number: int, level: str = "info", **rest: object) -> bytes:
    return json.dumps({"time": "2026-01-02T03:04:05.678Z", "level": level, "event": f"e{number}", **rest}).encode()


@pytest.fixture
def log(alone: tuple[Live, Shell]) -> Path:
    """A log of 60 lines, every tenth a warning."""
    path = alone[0].home / "logs" / "gateway.log"
    file = LogFile(path)
    for number in range(60):
        file.write_line(entry(number, "warning" if number % 10 == 0 else "info"))
    file.close()
    return path


@pytest.mark.usefixtures("log")
def test_the_last_lines_are_shown_readably(alone: tuple[Live, Shell]) -> None:
    result = alone[1]("logs", env={"TZ": "UTC"})

    lines = result.out.splitlines()
    assert (result.code, len(lines)) == (0, 50)
    assert lines[0] == "2026-01-02 03:04:05 UTC warning e10"


@pytest.mark.usefixtures("log")
def test_times_are_local_with_their_zone(alone: tuple[Live, Shell]) -> None:
    result = alone[1]("logs", "--lines", "1", env={"TZ": "EST+5"})

    assert result.out == "2026-01-01 22:04:05 EST info    e59\n"


@pytest.mark.usefixtures("log")
def test_lines_and_level_choose(alone: tuple[Live, Shell]) -> None:
    found = alone[1]("logs", "--lines", "2", "--level", "warning", "--json").lines

    assert [line["event"] for line in found] == ["e40", "e50"]
    assert alone[1]("logs", "--lines", "0").out == ""


def test_a_line_that_is_no_json_is_shown_and_control_characters_are_not(log: Path, alone: tuple[Live, Shell]) -> None:
    with log.open("ab") as file:
        file.write(b'Fatal\x1b[31m\n[1]\n{"event": "broke", "exception": "Trace\\nback", "text": "a\\nb"}\n')

    with alone[1].terminal("logs", "--lines", "3") as at:
        assert at.end() == 0
    found = alone[1]("logs", "--lines", "3", "--json").lines

    assert at.shown.splitlines() == ["Fatal\ufffd[31m", "[1]", 'broke text="a\\nb"', "Trace", "back"]
    assert found[0] == {"event": "Fatal\x1b[31m"}


def test_without_a_log_it_says_so(alone: tuple[Live, Shell]) -> None:
    assert alone[1]("logs") == (0, "", "There is no log yet: ~/logs/gateway.log\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes with a path")
@pytest.mark.parametrize("words", [(), ("--follow",)])
def test_a_pipe_in_the_place_of_the_log_is_named_and_does_not_block(
    words: tuple[str, ...], alone: tuple[Live, Shell]
) -> None:
    file = alone[0].home / "logs" / "gateway.log"
    file.parent.mkdir()
    os.mkfifo(file)

    result = alone[1]("logs", *words)

    assert result == (78, "", "cannot read ~/logs/gateway.log: it is a pipe, not a plain file. Move it away.\n")


def test_it_follows_over_rotation_until_ctrl_c(log: Path, alone: tuple[Live, Shell]) -> None:
    process = alone[1].start("logs", "--follow", "--lines", "1", "--level", "info", "--json")
    assert next_line(process.stdout)["event"] == "e59"

    file = LogFile(log, size=500)
    for number in range(100, 114):
        file.write_line(entry(number, "debug" if number % 2 else "info"))
        if number % 2 == 0:
            assert next_line(process.stdout)["event"] == f"e{number}"
    file.close()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)

    assert (process.returncode, told.strip()) == (130, "")
    assert log.with_name("gateway.log.1").exists()


def test_the_log_of_a_running_gateway_is_shown(shell: Shell) -> None:
    shell("agent", "--session", "logged", "hi")

    assert " info    run.settled " in shell("logs").out


def test_lines_of_a_task_and_since_a_time_are_chosen(log: Path, alone: tuple[Live, Shell]) -> None:
    with log.open("ab") as file:
        file.write(
            json.dumps({"time": "2026-03-01T00:00:00Z", "event": "run.claimed", "run": "01M7AAAA73F9KQ"}).encode()
        )
        file.write(b"\n" + json.dumps({"time": "2026-03-02T00:00:00Z", "event": "other", "run": "01M7BBBB"}).encode())
        file.write(b"\nnot JSON\n")

    def events(*words: str) -> list[str]:
        return [line["event"] for line in alone[1]("logs", "--json", *words).lines]

    assert events("--task", "73f9kq") == ["run.claimed"]
    assert events("--since", "2026-03-01T12:00Z") == ["other"]
    assert len(events("--since", "2026-01-01T00:00Z")) == 62
    assert events("--since", "2026-01-01T00:00Z", "--lines", "1") == ["other"]
    assert alone[1]("logs", "--since", "soon").code == 2
