"""What all commands share: help, typos, exit codes, and how errors are printed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

import gateway
from cli.command import Command
from cli.main import COMMAND, main
from gateway.supervisor import banner
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE


def every_command(command: click.Command = COMMAND, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from every_command(inner, (*path, name))


@pytest.mark.parametrize("path", [*every_command()], ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path, "--help"]) == 0

    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"gateway {' '.join(path)}".strip() in shown


@pytest.mark.parametrize("path", [*every_command()], ids=" ".join)
def test_every_command_with_json_says_what_it_prints(path: tuple[str, ...]) -> None:
    command: click.Command = COMMAND
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found

    if isinstance(command, Command) and command.has_json:
        assert "--json prints" in (command.help or "")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"Moongate {gateway.__version__}\n"


@pytest.mark.parametrize(
    ("words", "near"),
    [(["stauts"], "status"), (["task"], "tasks"), (["tasks", "wacth"], "watch"), (["config", "chekc"], "check")],
)
def test_a_typo_is_answered_with_the_nearest_command(
    words: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert f'did you mean "{near}"?' in capsys.readouterr().err


def test_a_word_that_is_near_to_nothing_is_refused_with_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == 2
    assert capsys.readouterr().err == 'there is no command "xyzzy". More: gateway --help\n'


@pytest.mark.parametrize(
    "words", [["agent", "--sesion", "x", "hi"], ["--prot", "1"], ["tasks", "list", "--limit", "x"]]
)
def test_wrong_usage_exits_2_and_names_the_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "--help" in capsys.readouterr().err


def test_a_group_alone_shows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 2
    assert "watch" in capsys.readouterr().err


def test_wrong_usage_with_json_is_told_as_json_too(shell: Shell) -> None:
    result = shell("sessions", "show", "--json")

    assert result.code == 2
    assert result.json["error"]["code"] == "USAGE"


@pytest.mark.parametrize(
    "words",
    [
        ["agent", "hi"],
        ["message", "webchat", "anna", "hi"],
        ["sessions", "list"],
        ["tasks", "list"],
        ["agents", "list"],
        ["tokens", "list"],
    ],
)
def test_without_a_gateway_a_client_says_how_to_start_it(words: list[str], alone: tuple[Live, Shell]) -> None:
    _, shell = alone

    result = shell(*words)

    assert (result.code, result.out) == (3, "")
    assert result.err == "the gateway is not running. Start it: gateway start\n"


def test_not_running_as_json_has_a_code(alone: tuple[Live, Shell]) -> None:
    _, shell = alone

    result = shell("agents", "list", "--json")

    assert result.code == 3
    assert result.json["error"]["code"] == "NOT_RUNNING"


def test_a_wrong_token_is_told_with_where_it_came_from(shell: Shell) -> None:
    result = shell("agents", "list", env={"MOONGATE_TOKEN": "not-the-right-one"})

    assert result.code == 1
    assert "refuses the token from MOONGATE_TOKEN" in result.err
    assert "not-the-right-one" not in result.err


def test_an_error_of_the_gateway_has_its_code_and_message(shell: Shell) -> None:
    result = shell("tasks", "show", "01ZZZZZZZZ", "--json")

    assert result.code == 1
    assert result.json["error"]["code"] == "RUN_NOT_FOUND"
    assert result.json["error"]["message"] in result.err


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_config_option_says_which_gateway_is_meant(place: str, shell: Shell, served: Live) -> None:
    config = ["--config", str(served.config)]
    words = [*config, "status"] if place == "before" else ["status", *config]

    result = shell(*words, env={"MOONGATE_CONFIG": "/nowhere/else.json"})

    assert (result.code, "Gateway is running" in result.out) == (0, True)


def test_a_config_file_that_is_not_there_is_not_taken_for_an_empty_one(shell: Shell) -> None:
    for words in (["config", "check"], ["doctor"], []):
        result = shell("--config", "nowhere.json", *words)

        assert (result.code, result.err.split(".json")[0]) == (78, "there is no config file nowhere")


def test_a_bug_shows_no_traceback_but_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cli.remote.probe.probe_gateway", lambda _: 1 / 0)

    assert main(["status"]) == 1
    assert capsys.readouterr().err == (
        "this command failed unexpectedly: ZeroDivisionError: division by zero."
        " This is a bug. Set MOONGATE_DEBUG=1 to see where.\n"
    )

    monkeypatch.setenv("MOONGATE_DEBUG", "1")
    assert main(["status"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(shell: Shell, served: Live) -> None:
    process = shell.start("config", "show")
    assert process.stdout is not None
    process.stdout.close()

    _, told = process.communicate(timeout=PATIENCE)

    assert told == ""


def test_the_gateway_runs_with_options_alone(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    process = shell.start("--host", "localhost", "--port=0", stdout=subprocess.PIPE)
    live.process = process
    live.wait_ready()

    status = shell("status", "--json")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)

    assert (status.json["running"], status.json["host"]) == (True, "localhost")
    assert (process.returncode, f"Moongate {gateway.__version__}" in out) == (0, True)


def test_a_token_given_to_run_is_stored_and_not_shown_in_the_process_list(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.process = shell.start("run", "--token", "a-secret-of-the-command-line", stdout=subprocess.PIPE)
    live.wait_ready()

    listed = Path(f"/proc/{live.process.pid}/cmdline").read_text()
    result = shell("agents", "list")
    live.stop()
    live.process.communicate()

    assert (live.token, "secret" in listed, result.code) == ("a-secret-of-the-command-line", False, 0)


def test_a_port_that_a_stranger_holds_exits_75_and_names_it(alone: tuple[Live, Shell]) -> None:
    _, shell = alone
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        result = shell("run", "--port", str(port))

    assert result.code == 75
    assert f"Port {port} is already in use. Use --force to kill existing process." in result.err
    assert f"Held by pid {os.getpid()} " in result.err


def test_a_second_gateway_of_a_config_exits_75_and_names_the_first(shell: Shell, served: Live) -> None:
    assert served.process is not None

    result = shell()

    assert result.code == 75
    assert f"already running with this configuration (pid {served.process.pid}" in result.err
    assert "gateway status" in result.err


def test_errors_have_emoji_on_a_terminal_only_and_not_with_no_color(alone: tuple[Live, Shell]) -> None:
    _, shell = alone

    with shell.terminal("agents", "list") as at:
        assert at.end() == 3
    with shell.terminal("agents", "list", env={"NO_COLOR": "1"}) as plain:
        assert plain.end() == 3

    assert at.shown == "❌ the gateway is not running.\r\n   Start it: gateway start\r\n"
    assert plain.shown == "the gateway is not running. Start it: gateway start\r\n"


def test_what_a_service_manager_cannot_do_is_told_to_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway import __main__ as foreground

    told: list[Mapping[str, Any]] = []
    monkeypatch.setattr(foreground, "run", lambda options, early: told.append(options) or 0)

    assert main(["run", "--environment", "A=1", "--environment", "B=2", "--output", "said.log"]) == 0

    assert told[0]["environment"] == ("A=1", "B=2")
    assert told[0]["output"] == "said.log"


def test_the_command_is_named_as_a_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "a clone" / "bin"
    programs.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert banner._shell_command() == "gateway", "there is none next to this Python"

    script = programs / "gateway"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert banner._shell_command() == f"'{script}'"

    monkeypatch.setenv("PATH", str(programs))
    assert banner._shell_command() == "gateway"


@pytest.mark.parametrize("words", [["agent", "caf\udce9"], ["--config", "caf\udce9", "status"], ["caf\udce9"]])
def test_an_argument_that_is_not_utf_8_is_a_usage_error(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "cli.main", *words, "--json"], capture_output=True, check=False)

    assert done.returncode == 2
    assert b'the argument "caf\\xe9" is not valid UTF-8.' in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "USAGE"
