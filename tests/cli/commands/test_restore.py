"""`gateway restore`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import paths
from gateway.backup.contents import BackupChoice
from gateway.backup.restoring import RestoreOptions
from gateway.supervisor import lock
from harness.command_line import Shell
from harness.live_gateway import Live
from tests.backup.installations import list_tree, make_installation, make_shell, restore_until_last_step, write_backup
from tests.backup.killed import STEPS_OF_RESTORE, run_killed


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup with secrets, of an installation with three runs."""
    return write_backup(make_installation(tmp_path / "old"), tmp_path, BackupChoice(secrets=True)).file


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell for a state directory that does not exist yet."""
    return make_shell(tmp_path / "home", tmp_path)


def test_a_restore_tells_what_it_did_and_what_to_do(shell: Shell, tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, running=True)

    done = shell("restore", str(made.file))

    assert done.code == 0, done.err
    assert "into ~/home" in done.out
    assert "RESTORED_WEBHOOKS_SECRET=…" in done.err
    assert "Start it: gateway start" in done.err
    again = shell("restore", str(made.file))
    assert (again.code, "--replace" in again.err) == (1, True)
    in_words = shell("restore", str(made.file), "--replace")
    assert "The config from before may have their values: ~/home/before-restore-" in in_words.err
    replaced = shell("restore", str(made.file), "--replace", "--json").json
    assert (replaced["resumed"], replaced["home"]) == (False, str(tmp_path / "home"))
    (kept,) = replaced["kept"]
    assert os.path.exists(os.path.join(kept, "data", "moongate.db"))
    assert shell("restore", str(made.file), "--replace", "--resume", "--json").json["resumed"] is True


def test_a_damaged_backup_changes_nothing(shell: Shell, backup: Path, tmp_path: Path) -> None:
    content = bytearray(backup.read_bytes())
    content[-3] ^= 1
    backup.write_bytes(content)

    done = shell("restore", str(backup))

    assert (done.code, "damaged" in done.err) == (1, True)
    assert list_tree(tmp_path / "home") == {}


def test_a_gateway_that_runs_is_not_touched(live: Callable[..., Live], backup: Path, tmp_path: Path) -> None:
    running = live("home").start()
    shell = Shell(running.env, tmp_path)

    done = shell("restore", str(backup), "--replace")

    assert done.code == 75
    assert f"pid {running.process.pid}" in done.err if running.process else False
    assert "gateway stop" in done.err
    assert running.call("GET", "/readyz").status == 200


def test_a_gateway_of_another_config_in_the_same_directory_is_not_touched(
    shell: Shell, backup: Path, tmp_path: Path
) -> None:
    held = lock.try_lock(tmp_path / "home" / "locks" / "gateway.0123456789abcdef.lock")
    assert held is not None
    (tmp_path / "home").chmod(0o700)

    done = shell("restore", str(backup))

    held.release()
    assert (done.code, "uses ~/home" in done.err) == (75, True)


def test_an_update_that_is_under_way_or_was_interrupted_keeps_its_database(
    shell: Shell, backup: Path, tmp_path: Path
) -> None:
    held = lock.try_lock(tmp_path / "home" / "locks" / "update.lock")
    assert held is not None
    (tmp_path / "home").chmod(0o700)
    assert shell("restore", str(backup)).code == 75
    held.release()
    (tmp_path / "home" / "update-journal.json").write_text("{}")

    done = shell("restore", str(backup))

    assert (done.code, "First finish or undo it: gateway update" in done.err) == (1, True)
    assert not (tmp_path / "home" / "config.json").exists()


def test_a_restore_that_was_interrupted_is_named_and_finished_by_an_update(
    shell: Shell, backup: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    make_installation(home, runs=1)
    restore_until_last_step(backup, home, RestoreOptions(replace=True))
    said = "was interrupted in its last step"

    assert said in shell("status").out
    assert said in shell("status", "--json").json["interrupted_restore"]
    (found,) = (one for one in shell("doctor", "--json").json["findings"] if one["check"] == "restore")
    assert (found["level"], said in found["finding"], found["remedy"]) == ("error", True, "gateway start")
    shell("update", "--rollback")  # there is no version to go back to
    assert not (home / "restore.json").exists()
    assert said not in shell("status").out


def test_a_restore_that_is_killed_has_restored_all_or_nothing(shell: Shell, backup: Path, tmp_path: Path) -> None:
    killed = finished = 0
    home = tmp_path / "home"
    make_installation(home, runs=1)
    before = list_tree(home)
    for step in (1, 12, 18, 20, 24, 30):
        ended = run_killed(shell, STEPS_OF_RESTORE, step, "restore", "--replace", str(backup))
        if ended.returncode != -signal.SIGKILL:
            break
        killed += 1
        if paths.restore_plan_file(home).exists():
            finished += 1
            continue
        if not finished:
            assert {name: told for name, told in list_tree(home).items() if name in before} == before
    assert (killed >= 5, finished >= 2) == (True, True)

    done = shell("restore", str(backup), "--replace", "--json")

    assert done.code == 0, done.err
    assert not list(home.glob(".restore-*"))
    assert not paths.restore_plan_file(home).exists()
    assert (home / "token").read_text() == "the-token"


def test_a_start_finishes_a_restore_that_was_killed(live: Callable[..., Live], backup: Path, tmp_path: Path) -> None:
    one = live("home", config={"log": {"level": "info"}})
    shell = Shell(one.env, tmp_path)
    place = make_installation(tmp_path / "other", runs=2)
    place.config.write_bytes(one.config.read_bytes())
    file = write_backup(place, tmp_path / "second", BackupChoice(secrets=True)).file
    for step in range(20, 60, 4):
        run_killed(shell, STEPS_OF_RESTORE, step, "restore", "--replace", str(file))
        if paths.restore_plan_file(one.home).exists():
            break
    assert paths.restore_plan_file(one.home).exists()

    one.start()

    assert not paths.restore_plan_file(one.home).exists()
    assert len(one.call("GET", "/api/tasks").body["tasks"]) == 2
