"""`GET /api/doctor`: what `gateway doctor` finds, from a child process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.api import doctor
from gateway.process import own_command
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until
from tests.api.client import ask, token
from tests.support.inprocess import Serving, serving

FOUND = {"check": "disk", "level": "warning", "finding": "1 GB free", "cause": "it is full", "remedy": "free some"}
PRINTS = f"echo '{json.dumps({'ok': True, 'findings': [FOUND], 'fixed': [], 'failed': []})}'"


class Script:
    """A program that a test writes, in place of Python with the doctor."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "python"
        self.started = directory / "started"

    def does(self, what: str) -> None:
        self.path.write_text(f"#!/bin/sh\necho $$ $* >> {self.started}\n{what}\n")
        self.path.chmod(0o700)

    @property
    def starts(self) -> list[str]:
        return self.started.read_text().splitlines() if self.started.exists() else []


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    made = Script(tmp_path)
    monkeypatch.setattr(own_command, "find_own_executable", lambda: str(made.path))
    made.does(PRINTS)
    return made


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a gateway in processes of its own")
def test_the_route_finds_what_the_command_finds(live: Callable[..., Live]) -> None:
    one = live().start()
    one.home.chmod(0o700)
    answer = one.call("GET", "/api/doctor")
    told = Shell(one.env, one.home)("doctor", "--json").json["findings"]

    assert answer.status == 200
    found = answer.body["findings"]
    assert [(row["check"], row["level"]) for row in found] == [(row["check"], row["level"]) for row in told]
    (about,) = (row for row in found if row["check"] == "gateway")
    assert one.record is not None
    assert f"pid {one.record.pid}" in about["finding"]


async def test_findings_are_shown_with_their_causes_and_remedies(moongate: Serving, script: Script) -> None:
    answer = await ask(moongate, "GET", "/api/doctor")

    assert (answer.status, answer.body["ok"], answer.body["findings"]) == (200, True, [FOUND])
    assert [start.partition(" ")[2] for start in script.starts] == ["-P -m cli.main doctor --json"]


async def test_the_doctor_imports_no_module_of_the_directory_in_which_the_gateway_runs(
    moongate: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent may work there, and write what it likes."""
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "__init__.py").touch()
    (tmp_path / "cli" / "main.py").write_text("import json; print(json.dumps({'findings': []}))")
    monkeypatch.chdir(tmp_path)

    assert (await ask(moongate, "GET", "/api/doctor")).body["findings"] != []


async def test_an_error_among_the_findings_is_told(moongate: Serving, script: Script) -> None:
    script.does(PRINTS.replace("warning", "error") + "; exit 1")

    assert (await ask(moongate, "GET", "/api/doctor")).body["ok"] is False


async def test_requests_share_one_run_and_its_findings_for_some_seconds(
    moongate: Serving, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = await asyncio.gather(*(ask(moongate, "GET", "/api/doctor") for _ in range(3)))
    shared = await ask(moongate, "GET", "/api/doctor")
    first = len(script.starts)
    monkeypatch.setattr(doctor, "DOCTOR_ANSWER_LIFETIME_SECONDS", 0.0)
    await ask(moongate, "GET", "/api/doctor")

    assert {answer.body["checked_at"] for answer in (*answers, shared)} == {shared.body["checked_at"]}
    assert (first, len(script.starts)) == (1, 2)


async def test_a_doctor_that_takes_too_long_is_ended(
    moongate: Serving, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "DOCTOR_TIMEOUT_SECONDS", 0.5)
    script.does("exec sleep 1000")
    answer = await ask(moongate, "GET", "/api/doctor")

    assert (answer.status, answer.code) == (504, "TIMEOUT")
    assert "gateway doctor" in answer.message
    if script.starts:  # on a busy machine it may not have begun
        with pytest.raises(ProcessLookupError):
            os.kill(int(script.starts[0].split()[0]), 0)


@pytest.mark.parametrize(
    "fails", ["exit 3", "echo broken", "echo '{\"error\": {}}'", "head -c 2000000 /dev/zero; sleep 1000"]
)
async def test_a_doctor_that_fails_is_reported_and_tried_again(moongate: Serving, script: Script, fails: str) -> None:
    script.does(fails)
    failed = await ask(moongate, "GET", "/api/doctor")
    script.does(PRINTS)
    again = await ask(moongate, "GET", "/api/doctor")

    assert (failed.status, failed.code, again.status) == (503, "UNAVAILABLE", 200)


async def test_a_doctor_that_cannot_be_started_is_reported(moongate: Serving, script: Script) -> None:
    script.path.unlink()

    assert (await ask(moongate, "GET", "/api/doctor")).status >= 500


async def test_the_end_of_the_gateway_ends_the_doctor(tmp_path: Path, script: Script) -> None:
    script.does("exec sleep 1000")
    async with serving(tmp_path / "home") as served:
        asking = asyncio.create_task(ask(served, "GET", "/api/doctor"))
        await until(lambda: script.starts, "the doctor has begun")
    await asyncio.gather(asking, return_exceptions=True)

    with pytest.raises(ProcessLookupError):
        os.kill(int(script.starts[0].split()[0]), 0)


async def test_only_admins_may_ask_the_doctor(moongate: Serving, script: Script) -> None:
    writer = await token(moongate, "writer", "write")

    assert (await ask(moongate, "GET", "/api/doctor", token=writer)).status == 403
    assert script.starts == []
