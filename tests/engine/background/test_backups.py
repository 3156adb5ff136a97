"""The service that makes backups: when one is due, what it runs, and what it keeps."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.backup import keeping, status, writing
from gateway.backup.contents import BackupChoice, Installation
from gateway.backup.manifest import Purpose
from gateway.backup.writing import BackupWriter
from gateway.domain.times import wall_clock
from gateway.engine.background import backups
from gateway.engine.background.backups import BackupPlan, Backups
from gateway.errors import Unavailable
from gateway.process.child import Child, Children
from gateway.process.identity import Identity
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE, until
from tests.backup.installations import make_installation, verify

HOUR = 3_600_000
NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z


@pytest.fixture
def plan(tmp_path: Path) -> BackupPlan:
    (tmp_path / "backups").mkdir()
    return BackupPlan(directory=tmp_path / "backups", home=tmp_path, every=24 * HOUR, keep=2, secrets=False)


def make_file(plan: BackupPlan, moment: int) -> Path:
    installation = status.identify_installation(plan.home)
    place = Installation(plan.home, plan.home / "config.json", plan.home / "data")
    few = BackupChoice(database=False, workspaces=False)
    writer = BackupWriter(
        place,
        few,
        None,
        is_running=lambda: False,
        report=lambda _: None,
        purpose=Purpose.PLAN,
        installation=installation,
        env={"HOME": str(plan.home)},
    )
    return writer.write_backup(writing.choose_target(plan.directory, moment / 1000)).file


def test_the_first_one_is_due_at_once(plan: BackupPlan) -> None:
    assert backups.find_due_time(plan, NOW) == NOW


def test_the_next_one_is_due_after_the_last_one_of_the_plan(plan: BackupPlan) -> None:
    make_file(plan, NOW - 5 * HOUR)
    make_file(plan, NOW - 2 * HOUR)
    writing.choose_target(plan.directory, NOW / 1000).write_text("of somebody else")

    assert backups.find_due_time(plan, NOW) == NOW + 22 * HOUR


def test_one_with_another_name_counts_as_long_as_it_is_there(plan: BackupPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "wall_clock", lambda: NOW - HOUR)
    file = plan.directory / "moongate-container-20251231T230000Z.tar.gz"
    file.write_text("")
    status.record_success(plan.home, file, 5)
    assert backups.find_due_time(plan, NOW) == NOW + 23 * HOUR

    file.unlink()

    assert backups.find_due_time(plan, NOW) == NOW


def test_a_backup_elsewhere_does_not_stand_for_one_of_the_plan(plan: BackupPlan, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.tar.gz").write_text("")
    status.record_success(plan.home, tmp_path / "elsewhere.tar.gz", 5)

    assert backups.find_due_time(plan, NOW) == NOW


def test_after_a_failure_the_next_try_waits_and_a_clock_that_is_set_back_does_not_stop_it(
    plan: BackupPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "wall_clock", lambda: NOW - 60_000)
    status.record_failure(plan.home, "the disk is full.")
    assert backups.find_due_time(plan, NOW) == NOW + 840_000

    make_file(plan, NOW + 1000 * HOUR)

    assert backups.find_due_time(plan, NOW - HOUR) == NOW + 23 * HOUR


class NoLedger:
    """Forgets the processes that it is told of."""

    async def record_process(self, who: Identity, run: str | None) -> None: ...

    async def forget_process(self, who: Identity) -> None: ...


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Backups]:
    """Makes the service of an installation, whose backups are made by the real command."""
    place = make_installation(tmp_path / "home")
    (place.home / "found-agent.json").unlink()
    plan = BackupPlan(directory=tmp_path / "backups", home=place.home, every=HOUR, keep=2, secrets=True)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MOONGATE_HOME": str(place.home)}

    def make(**more: str) -> Backups:
        return Backups(plan, Children(NoLedger(), environ), environ | more, wall_clock, first_delay=0)

    return make


async def test_a_backup_is_made_by_a_child_and_the_oldest_ones_are_removed(
    made: Callable[..., Backups], tmp_path: Path
) -> None:
    (tmp_path / "backups").mkdir()
    service = made()
    old = [make_file(service._plan, NOW - day * 24 * HOUR) for day in (2, 1)]
    service.start()
    await until(lambda: not old[0].exists(), "the oldest one is removed")
    await service.stop()

    newest, older = keeping.list_backups(tmp_path / "backups")
    assert older == old[1]
    assert "secrets" in verify(newest).manifest.parts
    success = status.read_backup_status(tmp_path / "home").last_success
    assert success is not None
    assert success.file == str(newest)
    assert 0 < await service.make_due_backup() <= backups.MAX_BACKUP_SLEEP_SECONDS
    assert keeping.list_backups(tmp_path / "backups") == [newest, older]


async def test_a_backup_that_fails_is_recorded_with_its_reason(made: Callable[..., Backups], tmp_path: Path) -> None:
    (tmp_path / "home" / "data" / "moongate.db").unlink()

    with pytest.raises(Unavailable, match="no database"):
        await made().make_due_backup()

    failure = status.read_backup_status(tmp_path / "home").failure_since
    assert failure is not None
    assert "there is no database" in failure.error
    assert not list((tmp_path / "backups").glob("*.gz"))


async def test_a_directory_that_has_gone_is_not_made_again_on_another_disk(
    made: Callable[..., Backups], tmp_path: Path
) -> None:
    status.record_success(tmp_path / "home", tmp_path / "backups" / "old.tar.gz", 5)

    with pytest.raises(Unavailable, match="has gone"):
        await made().make_due_backup()

    assert status.read_backup_status(tmp_path / "home").failure_since is not None
    assert not (tmp_path / "backups").exists()


async def test_a_stop_ends_the_backup_that_is_being_made(
    made: Callable[..., Backups], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = asyncio.Event()
    spawn = Children.spawn_child
    children = []

    async def spawn_and_tell(*given: Any, **named: Any) -> Child:
        children.append(await spawn(*given, **named))
        started.set()
        return children[0]

    monkeypatch.setattr(Children, "spawn_child", spawn_and_tell)
    service = made()
    service.start()
    async with asyncio.timeout(PATIENCE):
        await started.wait()

    await service.stop()

    assert children[0].returncode is not None
    assert not list(tmp_path.glob("backups/*.gz"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_health_metrics_and_status_tell_of_the_last_backups(live: Callable[..., Live], tmp_path: Path) -> None:
    one = live(config={"backup": {"every": 24}})
    file = one.home / "backups" / f"moongate-{writing.name_host()}-20990101T000000Z.tar.gz"
    file.parent.mkdir()
    file.write_text("")
    status.record_success(one.home, file, 1_500_000)
    one.start()
    told = one.call("GET", "/health").body
    assert (told["status"], told["backup"]["file"], told["backup"]["error"]) == ("healthy", str(file), None)
    assert "moongate_backup_last_success_timestamp_seconds " in str(one.call("GET", "/metrics").body)
    shell = Shell(one.env, tmp_path)
    assert "   Backup: " in shell("status").out

    status.record_failure(one.home, "the disk is full.")

    told = one.call("GET", "/health").body
    assert (told["status"], told["backup"]["error"]) == ("degraded", "the disk is full.")
    assert told["checks"]["backup"] == "the last backup failed: the disk is full."
    assert "backup: the last backup failed: the disk is full." in shell("status").out
    assert shell("status", "--json").json["backup"]["last_success_at"] is not None
