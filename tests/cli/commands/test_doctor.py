"""`gateway doctor`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

import gateway
from cli.doctor import environment, workspaces
from cli.doctor.database import examine_database
from cli.doctor.finding import Level
from cli.doctor.private_files import examine_password_file
from cli.remote.probe import ProbeResult, State
from gateway import config
from gateway.store.moving import mark
from gateway.store.moving.mark import Mark
from gateway.store.sql.transaction import Connection
from harness.command_line import Result, Shell
from harness.live_gateway import Live


def findings(result: Result) -> dict[str, dict[str, Any]]:
    return {row["check"]: row for row in result.json["findings"]}


def levels(result: Result) -> dict[str, str]:
    return {row["check"]: row["level"] for row in result.json["findings"]}


def settled(result: Result) -> dict[str, str]:
    """All levels except that of the interpreter: the tests may run from a temporary directory."""
    return {check: level for check, level in levels(result).items() if check != "interpreter"}


@pytest.fixture
def used(alone: tuple[Live, Shell]) -> tuple[Live, Shell]:
    """A gateway that ran before, and has stopped."""
    live, shell = alone
    live.start()
    shell("agent", "hi")
    live.stop()
    return live, shell


def test_before_the_first_start_all_is_well(alone: tuple[Live, Shell]) -> None:
    result = alone[1]("doctor", "--json")

    assert (result.code, result.json["ok"]) == (0, True)
    assert set(settled(result).values()) == {"ok"}
    assert set(levels(result)) == {
        *("config", "gateway", "state directory", "disk", "interpreter", "PATH", "data directory"),
        *("database", "workspaces", "port", "agent main"),
    }


def test_while_it_runs_all_is_well(shell: Shell, served: Live) -> None:
    result = shell("doctor", "--json")

    assert (result.code, set(settled(result).values())) == (0, {"ok"})
    assert f"pid {served.process and served.process.pid}" in findings(result)["gateway"]["finding"]
    assert "in use" in findings(result)["database"]["finding"]


def test_the_directories_of_sessions_are_measured(tmp_path: Path) -> None:
    (tmp_path / "workspaces" / "one").mkdir(parents=True)
    (tmp_path / "workspaces" / "one" / "file").write_bytes(b"x" * 3_000_000)
    settings = config.load({"MOONGATE_HOME": str(tmp_path)})

    found = workspaces.examine_workspaces(settings)

    assert (found.level, found.finding.partition(" at ")[0]) == (Level.OK, "1 directory of sessions with 3.0 MB")


def test_large_directories_that_are_kept_for_ever_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspaces, "LARGE_WORKSPACES_BYTES", 10)
    (tmp_path / "workspaces" / "one").mkdir(parents=True)
    (tmp_path / "workspaces" / "one" / "file").write_bytes(b"x" * 11)

    kept = workspaces.examine_workspaces(config.load({"MOONGATE_HOME": str(tmp_path)}))
    limited = {"MOONGATE_HOME": str(tmp_path), "MOONGATE_RETENTION_WORKSPACES_DAYS": "30"}

    assert kept.level is Level.WARNING
    assert "retention.workspaces_days" in (kept.remedy or "")
    assert workspaces.examine_workspaces(config.load(limited)).level is Level.OK


def test_json_has_the_documented_shape(shell: Shell) -> None:
    result = shell("doctor", "--json")

    assert set(result.json) == {"ok", "findings", "fixed", "failed"}
    assert {frozenset(row) for row in result.json["findings"]} == {
        frozenset({"check", "level", "finding", "cause", "remedy"})
    }


def test_after_a_clean_stop_the_database_is_checked(used: tuple[Live, Shell]) -> None:
    result = used[1]("doctor", "--json")

    assert result.code == 0
    assert findings(result)["database"]["finding"].endswith("moongate.db, checked")


def test_after_a_crash_it_leaves_the_database_as_it_was_to_be_found(used: tuple[Live, Shell]) -> None:
    live, shell = used
    live.start()
    identifier = shell("tasks", "add", "x").out.strip()
    live.kill()

    assert shell("doctor").code == 0

    live.start()
    assert shell("tasks", "show", identifier).code == 0


def test_a_copy_that_is_not_finished_is_an_error(used: tuple[Live, Shell]) -> None:
    live, shell = used
    with contextlib.closing(apsw.Connection(str(live.home / "data" / "moongate.db"))) as marking:
        mark.create_mark(cast("Connection", marking), Mark("another store", ""))

    database = findings(shell("doctor", "--json"))["database"]

    assert "not finished" in database["finding"]
    assert "gateway migrate" in database["cause"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "damaged, or is not a SQLite database"),
        (b"x" * 5000, "damaged, or is not a SQLite database"),
        (b"SQLite format 3\0" + b"\0" * 5000, "belongs to another program"),
    ],
    ids=["empty", "garbage", "foreign"],
)
def test_a_database_that_is_not_ours_is_an_error(data: bytes, said: str, used: tuple[Live, Shell]) -> None:
    live, shell = used
    (live.home / "data" / "moongate.db").write_bytes(data)

    result = shell("doctor", "--json")

    assert (result.code, result.json["ok"]) == (1, False)
    assert said in findings(result)["database"]["finding"]
    assert findings(result)["database"]["remedy"]


def test_a_page_that_is_damaged_is_found(used: tuple[Live, Shell]) -> None:
    live, shell = used
    with (live.home / "data" / "moongate.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)

    result = shell("doctor", "--json")

    assert (result.code, findings(result)["database"]["level"]) == (1, "error")


def test_a_lost_database_is_not_taken_for_a_new_one(used: tuple[Live, Shell]) -> None:
    live, shell = used
    (live.home / "data" / "moongate.db").unlink()
    (live.home / "data" / "moongate.db-wal").write_bytes(b"x")

    result = shell("doctor", "--json")

    assert "is missing, but its write-ahead log is there" in findings(result)["database"]["finding"]


def test_open_permissions_are_named_with_the_command_that_mends_them(used: tuple[Live, Shell]) -> None:
    live, shell = used
    live.home.chmod(0o755)
    (live.home / "token").chmod(0o644)

    result = shell("doctor", "--json")

    rows = findings(result)
    assert (result.code, rows["token"]["level"], rows["state directory"]["level"]) == (1, "error", "warning")
    assert rows["token"]["remedy"] == f"chmod 600 {live.home / 'token'}"
    assert rows["state directory"]["cause"] == "its mode is 755"


def test_an_env_file_that_others_can_read_is_a_warning_as_a_start_accepts_it(used: tuple[Live, Shell]) -> None:
    live, shell = used
    (live.home / ".env").touch(mode=0o644)
    (live.home / ".env").chmod(0o644)

    result = shell("doctor", "--json")

    assert (result.code, findings(result)[".env"]["level"]) == (0, "warning")


def test_what_is_found_is_printed_with_cause_and_remedy(used: tuple[Live, Shell]) -> None:
    live, shell = used
    (live.home / "token").chmod(0o644)

    lines = shell("doctor").out.splitlines()

    at = lines.index("error   token: others can read ~/token")
    assert lines[at + 1 : at + 3] == ["     why: its mode is 644", f"     fix: chmod 600 {live.home / 'token'}"]


def test_a_bad_config_is_the_first_finding(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.config.write_text('{"gatewy": {}}')

    result = shell("doctor", "--json")

    first = result.json["findings"][0]
    assert (result.code, first["check"], first["level"]) == (1, "config", "error")
    assert 'did you mean "gateway"?' in first["finding"]


def test_a_port_that_a_stranger_holds_is_an_error_and_names_it(alone: tuple[Live, Shell]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = str(stranger.getsockname()[1])
        result = alone[1]("doctor", "--json", env={"MOONGATE_PORT": port})

    row = findings(result)["port"]
    assert (result.code, row["finding"]) == (1, f"{port} is taken")
    assert f"pid {os.getpid()} " in row["cause"]


def test_a_gateway_that_is_on_another_port_than_the_settings_say_is_a_warning(shell: Shell) -> None:
    result = shell("doctor", "--json", env={"MOONGATE_PORT": "18790"})

    assert (result.code, findings(result)["port"]["level"]) == (0, "warning")


@pytest.mark.skipif(sys.platform == "darwin", reason="credentials are in the keychain there")
def test_an_agent_that_cannot_answer_is_an_error_and_one_without_a_credential_a_warning(
    alone: tuple[Live, Shell],
) -> None:
    live, shell = alone
    gone = {"id": "gone", "backend": "command", "command": ["no-such-thing"]}
    home = {"HOME": str(live.config.parent)}
    new = {"id": "new", "backend": "acp", "preset": "claude", "command": ["true"], "env": home}
    agents = [gone, {**gone, "id": "off", "enabled": False}, new]
    live.config.write_text(json.dumps({"gateway": {"port": 0}, "agents": {"list": agents}}))

    stopped = shell("doctor", "--json")
    live.start()
    running = shell("doctor", "--json")

    for result in (stopped, running):
        assert (result.code, findings(result)["agent gone"]["level"]) == (1, "error")
        assert "no-such-thing" in findings(result)["agent gone"]["cause"]
        assert "agent off" not in findings(result)
        assert findings(result)["agent new"]["level"] == "warning"
        assert "ANTHROPIC_API_KEY" in findings(result)["agent new"]["cause"]


def test_a_limit_of_tokens_that_cannot_hold_is_a_warning(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    silent = {"id": "main", "backend": "command", "command": ["cat"], "budget": {"tokens": 9}}
    live.config.write_text(json.dumps({"gateway": {"port": 0}, "agents": {"list": [silent]}}))

    stopped = shell("doctor", "--json")
    live.start()
    shell("cron", "add", "every 1d", "--name", "watch", "--budget-cost", "2", "wake up")
    running = [row["finding"] for row in shell("doctor", "--json").json["findings"] if row["check"] == "budgets"]

    said = "the tokens limit of the agent 'main' cannot hold: its agent does not report tokens; limit runs instead"
    assert (findings(stopped)["budgets"]["level"], findings(stopped)["budgets"]["finding"]) == ("warning", said)
    assert running[0] == said
    assert running[1].startswith("the cost limit of the schedule 'watch' cannot hold")


def test_files_that_take_nearly_all_of_their_quota_are_a_warning(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.config.write_text(json.dumps({**json.loads(live.config.read_text()), "files": {"quota": 2000}}))
    live.start()
    shell("files", "add", "-", given="a" * 1800)
    fits = findings(shell("doctor", "--json"))["files"]
    shell("files", "add", "-", given="b")
    full = findings(shell("doctor", "--json"))["files"]

    assert (fits["level"], fits["finding"]) == ("ok", "they take 1.8 kB of 2.0 kB")
    assert full["level"] == "warning"
    assert "files.quota" in full["remedy"]


@pytest.mark.parametrize(("free", "level"), [(2 << 30, Level.OK), (500 << 20, Level.WARNING), (50 << 20, Level.ERROR)])
def test_little_space_is_a_warning_and_hardly_any_an_error(
    free: int, level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free))

    finding = environment.examine_disk("disk", tmp_path / "not" / "there")

    assert finding.level is level


def test_fix_closes_what_is_to_be_private_and_says_so(used: tuple[Live, Shell]) -> None:
    live, shell = used
    live.home.chmod(0o755)
    (live.home / "token").chmod(0o644)
    (live.home / ".env").symlink_to(live.home / "elsewhere")
    (live.home / "elsewhere").write_text("")
    (live.home / "elsewhere").chmod(0o644)

    result = shell("doctor", "--fix", "--json")

    assert result.json["fixed"] == [
        f"state directory: chmod 700 {live.home}",
        f"token: chmod 600 {live.home / 'token'}",
    ]
    modes = [path.stat().st_mode & 0o777 for path in (live.home, live.home / "token", live.home / "elsewhere")]
    assert modes == [0o700, 0o600, 0o644]
    assert levels(result)["token"] == "ok"


def test_a_token_that_the_running_gateway_refuses_is_an_error(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.start()
    (live.home / "token").write_text("another-token-than-the-one-in-use\n")

    row = findings(shell("doctor", "--json"))["token in use"]

    assert (row["level"], row["remedy"]) == ("error", "gateway restart")


def make_database_newer(live: Live) -> int:
    """Give the database a schema of a later version, with a copy of this version's beside it; return this one's."""
    file = live.home / "data" / "moongate.db"
    with contextlib.closing(apsw.Connection(str(file))) as connection:
        known = int(connection.pragma("user_version"))
        connection.pragma("user_version", known + 3)
    shutil.copy(file, f"{file}.schema-{known}")
    return known


def test_a_database_of_a_newer_moongate_is_an_error_that_names_the_copy(used: tuple[Live, Shell]) -> None:
    live, shell = used
    known = make_database_newer(live)

    result = shell("doctor", "--json")

    found = findings(result)["database"]
    assert (result.code, found["level"]) == (1, "error")
    assert f"has schema {known + 3}; this Moongate knows {known}" in found["finding"]
    assert f"moongate.db.schema-{known}" in found["remedy"]


def test_after_a_failed_downgrade_start_and_status_name_the_schema_and_the_copy(used: tuple[Live, Shell]) -> None:
    live, shell = used
    known = make_database_newer(live)

    started = shell("start")
    state = shell("status", "--json").json

    why = f"has schema {known + 3}, newer than this Moongate's {known}"
    assert started.code == 78
    assert why in started.err
    assert why in state["last_stop"]["reason"]
    assert f"moongate.db.schema-{known}" in state["last_stop"]["reason"]
    assert (state["version"], state["installed_version"]) == (None, gateway.__version__), "nothing runs"
    assert shell("--version").out == f"Moongate {gateway.__version__}\n"


def test_a_database_that_cannot_be_written_is_not_called_damaged(
    used: tuple[Live, Shell], monkeypatch: pytest.MonkeyPatch
) -> None:
    live, _ = used
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    found = examine_database(config.load({"MOONGATE_HOME": str(live.home)}), ProbeResult(State.STOPPED))

    assert (found.level, found.cause) == (Level.ERROR, "it is read-only")
    assert "damaged" not in found.finding


def test_a_port_that_was_given_at_the_start_is_no_fault(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.config.write_text(json.dumps({**json.loads(live.config.read_text()), "gateway": {"port": 18790}}))
    live.start("--port", "0")

    found = findings(shell("doctor", "--json"))["port"]

    assert (found["level"], found["finding"]) == (
        "ok",
        f"{live.port}, held by the gateway, which was started with --port",
    )


def test_a_password_file_that_others_can_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret")
    (tmp_path / "config.json").write_text(json.dumps({"store": {"password_file": str(file)}}))
    settings = config.load({"MOONGATE_HOME": str(tmp_path)})
    found = []
    for mode in (0o644, 0o600):
        file.chmod(mode)
        found += examine_password_file(settings)

    assert [(one.check, one.level) for one in found] == [
        ("store password", Level.WARNING),
        ("store password", Level.OK),
    ]
