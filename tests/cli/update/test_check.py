"""`gateway update --check`, the file that it leaves, and who says what it found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from cli.instance import Instance
from cli.update import check, journal
from cli.update.installation import find_installation
from cli.update.journal import Journal, Step
from gateway import paths
from gateway.domain.times import wall_clock
from gateway.engine.background import update_checks
from gateway.engine.background.update_checks import UpdateChecks
from gateway.errors import ConfigError, GatewayError, Unavailable
from gateway.process import own_command
from gateway.process.child import Children
from gateway.settings.updates import Updates
from gateway.updates.status import UpdateStatus, read_update_status, write_update_status
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.releases import Installed, Lab
from tests.support.ledger import MemoryLedger


@pytest.fixture
def home(alone: tuple[Live, Shell]) -> Path:
    return alone[0].home


@pytest.fixture
def shell(alone: tuple[Live, Shell]) -> Shell:
    return alone[1]


def _interrupted() -> Journal:
    return Journal(
        step=Step.EXCHANGE, environment="/venv", identity="1:2", from_version="0.2.0", to_version="0.3.0", began=1
    )


@pytest.mark.slow
async def test_the_gateway_asks_the_index_and_status_tells(
    lab: Lab, installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add_release("9.0.0")
    python = str(installed.environment / "bin/python")
    monkeypatch.setattr(own_command, "find_own_executable", lambda: python)
    checks = UpdateChecks(installed.home, Children(MemoryLedger(), installed.env), installed.env, 3600)
    await checks.ask_once()
    found = read_update_status(installed.home)
    assert found is not None
    assert (found.latest, found.error) == ("9.0.0", None)
    told = await asyncio.to_thread(installed.run, "status", "--json")
    assert told.json["newest_version"] == "9.0.0"
    said = await asyncio.to_thread(installed.run, "update", "--check", "--json")
    assert (said.json["available"], said.json["kind"], said.json["how"]) == (True, "venv", "gateway update")


@pytest.mark.slow
def test_an_index_that_does_not_answer_is_said(installed: Installed) -> None:
    done = installed.run(
        "update", "--check", env={"MOONGATE_UPDATES_INDEX": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0"}
    )
    assert (done.code, "does not say which versions" in done.err) == (75, True), done
    found = read_update_status(installed.home)
    assert found is not None
    assert found.error is not None


def test_status_and_doctor_say_that_an_update_was_interrupted(shell: Shell, home: Path) -> None:
    journal.write_journal(home, _interrupted())
    assert "from version 0.2.0 to 0.3.0 was interrupted" in shell("status").out
    found = shell("doctor", "--json").json["findings"]
    assert [one["level"] for one in found if one["check"] == "update"] == ["error"]


def test_without_a_question_nothing_is_said(shell: Shell) -> None:
    told = shell("status", "--json").json
    assert (told["newest_version"], told["interrupted_update"]) == (None, None)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"checked_at": "no"}', b"[" * 5000])
def test_a_file_that_cannot_be_read_is_no_answer(home: Path, content: bytes) -> None:
    (paths.update_status_file(home)).write_bytes(content)
    assert read_update_status(home) is None


def test_what_was_found_is_read_again(home: Path) -> None:
    write_update_status(home, UpdateStatus(1, "0.3.0", None))
    assert json.loads((paths.update_status_file(home)).read_bytes()) == {
        "checked_at": 1,
        "latest": "0.3.0",
        "error": None,
    }
    assert read_update_status(home) == UpdateStatus(1, "0.3.0")


def test_a_file_with_a_field_of_another_version_is_read(home: Path) -> None:
    (paths.update_status_file(home)).write_bytes(b'{"checked_at": 1, "current": "0.1.9", "latest": "0.3.0"}')
    assert read_update_status(home) == UpdateStatus(1, "0.3.0")


@pytest.mark.parametrize(("check", "seconds"), [(False, None), (True, 86_400.0), (12, 43_200.0)])
def test_the_setting_is_hours_or_never(check: float | bool, seconds: float | None) -> None:
    assert Updates(check=check).check_seconds == seconds


def test_environment_names_are_read(home: Path) -> None:
    from gateway import config

    env: Mapping[str, str] = {"MOONGATE_HOME": str(home), "HOME": str(home), "MOONGATE_UPDATES_CHECK": "12"}
    assert config.load(env).updates.check == 12


@pytest.mark.parametrize(("ago", "left"), [(0, 3600), (1800, 1800), (7200, 0), (-9999, 3600)])
def test_a_question_is_due_that_long_after_the_last_one(home: Path, ago: int, left: int) -> None:
    write_update_status(home, UpdateStatus(wall_clock() - ago * 1000))
    assert max(0, update_checks.seconds_until_due(home, 3600)) == pytest.approx(left, abs=60)


def test_the_first_question_is_due_at_once(home: Path) -> None:
    assert update_checks.seconds_until_due(home, 3600) == 0


async def test_a_question_whose_answer_cannot_be_stored_is_not_asked_each_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def ask(checks: UpdateChecks) -> None:
        asked.append(1)

    monkeypatch.setattr(UpdateChecks, "ask_once", ask)
    checks = UpdateChecks(home, Children(MemoryLedger(), {}), {}, 86_400)
    for _ in range(3):
        assert await checks._ask_if_due() > 0
    assert asked == [1]


def test_gateways_do_not_all_ask_at_one_moment(home: Path) -> None:
    made = [UpdateChecks(home, Children(MemoryLedger(), {}), {}, 86_400)._seconds for _ in range(5)]
    assert len(set(made)) == 5
    assert 86_400 <= min(made) <= max(made) <= 1.1 * 86_400


@pytest.mark.parametrize(("error", "latest"), [(Unavailable("offline"), "9.0.0"), (ConfigError("no index"), None)])
def test_a_newer_version_stays_known_while_the_index_cannot_be_reached(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: GatewayError, latest: str | None
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(check, "_ask", fail)
    write_update_status(home, UpdateStatus(1, "9.0.0"))
    with pytest.raises(GatewayError):
        check.find_newest(Instance(home, home / "config.json", {}), find_installation(home, home, home, {}))
    found = read_update_status(home)
    assert found is not None
    assert (found.latest, found.error) == (latest, error.message)
