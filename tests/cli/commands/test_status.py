"""`gateway status`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.commands.status import COMMAND
from cli.doctor import environment
from cli.doctor.finding import Level
from gateway import paths
from gateway.supervisor import record
from harness.command_line import Shell
from harness.live_gateway import Live

SLOW = (
    "msgspec filelock structlog psutil http.client asyncio aiohttp rich apsw gateway.config dataclasses"
    " dotenv subprocess secrets random difflib traceback"
).split()


def test_a_running_gateway_is_shown_as_in_the_seed(shell: Shell, served: Live) -> None:
    result = shell("status")

    lines = result.out.splitlines()
    assert (result.code, lines[0]) == (0, "Gateway is running")
    assert f"   Port: {served.port}" in lines
    assert f"   URL: http://localhost:{served.port}" in lines
    assert "Access:" in lines
    assert "Management:" in lines


def test_what_there_is_to_do_is_counted(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()
    hanging, waiting = ({"input": "@@ hang", "session": "one"} for _ in range(2))
    for body in (hanging, waiting):
        live.call("POST", "/api/tasks", body)
    live.call("POST", "/api/agent", {"message": "hello", "session": "other"})

    told, shown = shell("status", "--json").json["work"], shell("status").out

    counted = {"running": 1, "queued": 1, "stranded": {}, "ended": 1, "pending_deliveries": 0, "dead_deliveries": 0}
    assert told == {**counted, "next_schedule": None}
    assert "   Work: 1 running, 1 waiting, 1 ended in 24 h\n" in shown


def test_its_uptime_is_the_gateways_and_not_that_of_what_serves(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()
    before = shell("status", "--json").json

    assert shell("restart", "--hard").code == 0
    after = shell("status", "--json").json

    assert after["started_at"] == before["started_at"]
    assert after["uptime"] >= after["generation_uptime"]


def test_no_usable_token_is_shown(shell: Shell, served: Live) -> None:
    shown = shell("status").out + shell("status", "--json").out

    assert served.token not in shown
    assert f"{served.token[:4]}…{served.token[-4:]}" in shown


def test_it_has_emoji_on_a_terminal(shell: Shell) -> None:
    with shell.terminal("status") as at:
        assert at.end() == 0

    assert at.shown.startswith("✅ Gateway is running\r\n")
    assert "🌐 Access:" in at.shown
    assert "📝 Management:" in at.shown


def test_json_has_the_documented_keys_running_or_not(shell: Shell, alone: tuple[Live, Shell]) -> None:
    running, stopped = shell("status", "--json"), alone[1]("status", "--json")

    assert (running.code, running.json["running"], running.json["state"]) == (0, True, "running")
    assert (stopped.code, stopped.json["running"], stopped.json["state"]) == (3, False, "stopped")
    assert set(running.json) == set(stopped.json)
    assert all(f'"{key}"' in (COMMAND.help or "") for key in running.json)
    assert {key for key, value in running.json.items() if value is None} <= {
        "backup",
        "last_stop",
        "port_owner",
        "findings",
        "service",
        "config_drift",
        "fleet",
        "external_url",
        "remote",
        "newest_version",
        "interrupted_update",
        "interrupted_restore",
    }


def test_a_gateway_that_was_killed_is_not_running(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()
    live.kill()

    result = shell("status")

    assert (result.code, result.out.splitlines()) == (
        3,
        [
            "Gateway is not running",
            "   Last stop: not seen (it was killed, or the machine went down)",
            "   Start it: gateway start",
        ],
    )


def test_after_a_stop_it_tells_when_and_why(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()
    before = shell("status", "--json").json["last_stop"]
    live.stop()

    last = shell("status", "--json").json["last_stop"]

    assert (before, last["code"], last["reason"]) == (None, 0, "SIGTERM")
    assert f"   Last stop: {last['at']} (SIGTERM)" in shell("status").out.splitlines()


def test_a_token_that_is_written_down_and_refused_is_named(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()
    before = shell("status", "--json").json["token_drift"]
    (live.home / "token").write_text("another-token-than-the-one-in-use\n")

    assert (before, shell("status", "--json").json["token_drift"]) == (False, True)
    assert "   Token: the gateway refuses the stored one: gateway restart" in shell("status").out.splitlines()


def test_a_token_of_the_shell_that_started_it_is_named_and_the_advice_helps(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.env["OPENCLAW_TOKEN"] = "a-token-of-the-other-shell-0123456789"
    live.start()
    del live.env["OPENCLAW_TOKEN"]

    shown = shell("status").out.splitlines()
    doctor = shell("doctor").out

    advice = "set OPENCLAW_TOKEN here, too, or: gateway stop, then gateway start"
    assert f"   Token: the gateway uses OPENCLAW_TOKEN of the shell that started it: {advice}" in shown
    assert "   Token: not known to this shell" in shown
    assert advice in doctor
    live.env["OPENCLAW_TOKEN"] = "a-token-of-the-other-shell-0123456789"
    assert Shell(live.env, live.home)("status", "--json").json["token_drift"] is False


def test_a_token_of_this_shell_that_the_gateway_does_not_know_is_named(alone: tuple[Live, Shell]) -> None:
    live, _ = alone
    live.start()
    live.env["MOONGATE_TOKEN"] = "a-token-of-this-shell-only-0123456789"

    shown = Shell(live.env, live.home)("status").out

    assert "the gateway refuses MOONGATE_TOKEN of this shell: unset MOONGATE_TOKEN here, or: gateway stop" in shown


@pytest.mark.parametrize(
    "content", [None, "{", '{"agents": {"default": "gone"}}'], ids=["edited", "broken", "without its agent"]
)
def test_a_config_that_changed_on_disk_is_named_until_a_restart(alone: tuple[Live, Shell], content: str | None) -> None:
    live, shell = alone
    live.start()
    before, good = shell("status", "--json").json["config_drift"], live.config.read_text()
    live.config.write_text(good + " " if content is None else content)

    told, shown, doctor = shell("status", "--json").json, shell("status").out, shell("doctor").out

    assert (before, told["config_drift"]) == (None, str(live.config))
    advice = "gateway config check (the config cannot be used" if content else "gateway restart"
    assert f"config.json changed on disk since the start: {advice}" in shown
    assert "config.json changed on disk since the start" in doctor
    assert f"fix: {advice}" in doctor
    live.config.write_text(good)
    assert shell("status", "--json").json["config_drift"] is None


def test_another_version_than_the_installed_one_is_named(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()
    before = shell("status", "--json").json
    lock = paths.lock_file(live.home, live.config)
    found = record.read_record(lock)
    assert found is not None
    lock.write_bytes(found._replace(version="0.0.1").encode_line())

    after = shell("status", "--json").json

    assert (before["version_drift"], after["version_drift"]) == (False, True)
    said = f"0.0.1 runs, {before['installed_version']} is installed: "
    assert f"{said}gateway restart" in shell("status").out
    live.config.write_text("{")
    assert f"{said}gateway config check (the config cannot be used" in shell("status").out
    assert "fix: gateway restart" not in shell("doctor").out


def test_a_gateway_that_does_not_answer_is_not_called_running(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()
    assert live.process is not None
    generation = live.generation
    live.signal(signal.SIGSTOP)  # so that the supervisor does not start another one
    live.signal(signal.SIGSTOP, generation)

    text, told = shell("status"), shell("status", "--json")

    assert (text.code, told.code, told.json["state"]) == (3, 3, "unresponsive")
    assert f"pid {live.process.pid} is there, port {live.port} is silent" in text.out


def test_another_instance_on_the_port_is_not_ours(alone: tuple[Live, Shell], served: Live) -> None:
    live, shell = alone
    found = served.record
    assert found is not None
    lock = paths.lock_file(live.home, live.config)
    lock.parent.mkdir(parents=True)
    lock.write_bytes(found._replace(instance="another").encode_line())

    assert record.read_record(lock) is not None
    assert shell("status", "--json").json["state"] == "unresponsive"


def test_it_takes_no_lock_and_writes_nothing(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    before = sorted(live.home.rglob("*"))

    shell("status")

    assert sorted(live.home.rglob("*")) == before


def test_without_a_token_none_is_asked_for(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.config.write_text('{"gateway": {"port": 0, "auth": {"mode": "none"}}, "agents": {"list": []}}')
    live.start()

    result = shell("status")

    assert "   Token: none is asked for" in result.out.splitlines()
    assert shell("agents", "list").code == 0


def test_it_loads_nothing_that_is_slow(served: Live) -> None:
    code = "import sys; from cli.main import main; print(main(['status'])); print(*sorted(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], env=served.env, capture_output=True, text=True, check=True)

    *_, exit_code, modules = done.stdout.splitlines()
    assert exit_code == "0"
    assert [name for name in SLOW if name in modules.split()] == []


def test_a_bad_config_does_not_hinder_it(shell: Shell, alone: tuple[Live, Shell]) -> None:
    live, own = alone
    live.start()
    live.config.write_text("{")

    assert own("status").code == 0
    assert Path(os.fspath(live.config)).read_text() == "{"


def test_deep_finds_a_stranger_on_the_port(alone: tuple[Live, Shell]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = {"MOONGATE_PORT": str(stranger.getsockname()[1])}
        told = alone[1]("status", "--deep", "--json", env=port)
        text = alone[1]("status", "--deep", env=port)

    assert (told.code, told.json["port_owner"]["pid"]) == (3, os.getpid())
    assert f"   Port: held by pid {os.getpid()} (" in text.out


def test_deep_finds_data_that_is_another_gateways(alone: tuple[Live, Shell], served: Live) -> None:
    live, shell = alone
    live.config.write_text(json.dumps({"data": {"directory": str(served.home / "data")}}))

    found = {row["check"]: row for row in shell("status", "--deep", "--json").json["findings"]}

    assert found["data directory"]["level"] == "error"
    assert str(served.config) in found["data directory"]["cause"]


def test_deep_finds_a_program_that_the_gateways_path_lacks(alone: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = alone
    program = tmp_path / "bin" / "an-agent"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    live.config.write_text(
        json.dumps(
            {"gateway": {"port": 0}, "agents": {"list": [{"id": "a", "backend": "command", "command": ["an-agent"]}]}}
        )
    )
    live.start()

    path = f"{program.parent}{os.pathsep}{live.env['PATH']}"
    found = shell("status", "--deep", "--json", env={"PATH": path}).json["findings"]

    row = next(row for row in found if row["check"] == "PATH")
    assert (row["level"], row["cause"]) == (
        "warning",
        f"it is {program}, which is on the PATH of this shell, but not of the gateway",
    )


@pytest.mark.parametrize(
    ("program", "level"),
    [("/bin/sh", Level.OK), ("/gone/bin/python", Level.ERROR), (tempfile.gettempdir(), Level.WARNING)],
    ids=["lasting", "gone", "temporary"],
)
def test_an_interpreter_that_will_not_last_is_found(program: str, level: Level) -> None:
    assert environment.examine_interpreter(Path(program)).level is level


def test_a_gateway_that_a_unit_of_the_seed_started_names_its_service(live: Callable[..., Live]) -> None:
    one = live(env={"XOPC_SERVICE_MARKER": "xopc"})
    one.start()

    assert Shell(one.env, one.home)("status", "--json").json["service"] == "xopc"


@pytest.mark.parametrize("name", ["token", ".env"])
def test_a_file_that_cannot_be_read_does_not_hide_a_running_gateway(live: Callable[..., Live], name: str) -> None:
    one = live()
    one.start()
    path = one.home / name
    path.unlink(missing_ok=True)
    path.mkdir()

    result = Shell(one.env, one.home)("status")
    path.rmdir()

    assert result.code == 0
    assert result.out.startswith("Gateway is running")
