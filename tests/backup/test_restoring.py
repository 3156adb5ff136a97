"""What a restore puts where, what it keeps, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from gateway import paths
from gateway.backup import mounts, pending, restoring, unpacking
from gateway.backup.contents import BackupChoice
from gateway.backup.pending import Move
from gateway.backup.restoring import RestoreOptions
from gateway.backup.writing import BackupWriter
from gateway.domain.run import RunFilter
from gateway.domain.times import wall_clock
from gateway.errors import ConfigError, Conflict, StorageFull, Unavailable
from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore
from gateway.supervisor import lock
from tests.backup.installations import (
    SECRET,
    list_tree,
    make_installation,
    restore,
    restore_until_last_step,
    write_backup,
)

ALL = BackupChoice(secrets=True)


def count_runs(database: Path) -> int:
    async def count() -> int:
        store = SqliteStore(database)
        try:
            return len(await store.runs.list_ids(RunFilter(), 100))
        finally:
            await store.close()

    return asyncio.run(count())


def test_all_of_it_comes_back_elsewhere(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, ALL)

    done = restore(made.file, tmp_path / "new")

    before, after = list_tree(tmp_path / "old"), list_tree(tmp_path / "new")
    assert {name for name in before.keys() - after.keys() if "drafts" not in name} == {
        "data/moongate.db-shm",
        "data/moongate.db-wal",
    }
    assert after.keys() <= before.keys()
    assert {name for name in after if after[name] != before[name]} == {"data/moongate.db"}
    assert (tmp_path / "new" / "workspaces" / "01abc" / "src" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new" / "config.json").stat().st_mode & 0o777 == 0o600
    assert count_runs(tmp_path / "new" / "data" / "moongate.db") == 3
    assert (done.kept, done.kept_secrets, done.resumed) == ([], [], True)


def test_secrets_that_the_backup_has_not_got_stay(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "home"), tmp_path)
    (tmp_path / "home" / "token").write_text("another")

    done = restore(made.file, tmp_path / "home", RestoreOptions(replace=True))

    assert (tmp_path / "home" / "token").read_text() == "another"
    assert [path.name for path in done.kept_secrets] == [".env", "token", "webhook-secret"]
    assert SECRET not in (tmp_path / "home" / "config.json").read_text()


def test_what_is_there_is_not_replaced_unless_asked_for(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path)
    make_installation(tmp_path / "home", runs=1)
    before = list_tree(tmp_path / "home")

    with pytest.raises(Conflict, match=r"config\.json.*moongate\.db.*workspaces") as refused:
        restore(made.file, tmp_path / "home")

    assert "--replace" in str(refused.value)
    assert list_tree(tmp_path / "home") == before


def test_what_is_replaced_is_kept(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, ALL)
    home = tmp_path / "home"
    make_installation(home, runs=1)
    (home / "config.json.last-good").write_text("{}")
    (home / "data" / "moongate.db-wal").write_text("")
    (home / "logs").mkdir()
    before = list_tree(home)

    done = restore(made.file, home, RestoreOptions(replace=True))

    (kept,) = done.kept
    assert kept.parent == home
    found = list_tree(kept)
    assert before.items() - found.items() == {("logs", "")}
    assert count_runs(kept / "data" / "moongate.db") == 1
    assert count_runs(home / "data" / "moongate.db") == 3
    assert not (home / "config.json.last-good").exists()
    assert not (home / "data" / "moongate.db-wal").exists()


def test_the_data_directory_of_the_config_is_used(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "old")
    elsewhere = tmp_path / "elsewhere"
    place.config.write_text(json.dumps({"data": {"directory": str(elsewhere)}}))
    made = write_backup(place, tmp_path)

    restore(made.file, tmp_path / "new")

    assert count_runs(elsewhere / "moongate.db") == 3
    assert not (tmp_path / "new" / "data").exists()
    with pytest.raises(Conflict, match=r"elsewhere/moongate\.db"):
        restore(made.file, tmp_path / "third")
    restore(made.file, tmp_path / "third", env={"HOME": str(tmp_path), "MOONGATE_DATA_DIR": str(tmp_path / "own")})
    assert count_runs(tmp_path / "own" / "moongate.db") == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_what_root_restores_belongs_to_the_owner_of_the_state_directory(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, ALL)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 54_321, 54_321)
    for options in (RestoreOptions(), RestoreOptions(replace=True)):
        restore(made.file, home, options)
    taken = lock.try_lock(home / "one.lock")
    assert taken is not None
    taken.release()

    assert {path.lstat().st_uid for path in home.rglob("*")} == {54_321}
    assert list(home.glob("before-restore-*/data/moongate.db"))


def test_copies_of_the_database_go_with_it(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path)
    home = tmp_path / "home"
    make_installation(home, runs=0)
    copies = ["moongate.db.schema-20", "moongate.db.of-0.2.0"]
    for name in copies:
        (home / "data" / name).write_text("")

    (kept,) = restore(made.file, home, RestoreOptions(replace=True)).kept

    assert all((kept / "data" / name).exists() and not (home / "data" / name).exists() for name in copies)


def test_parts_that_are_not_in_the_backup_stay(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    made = write_backup(place, tmp_path, BackupChoice(database=False, workspaces=False))

    restore(made.file, tmp_path / "home", RestoreOptions(replace=True))

    assert place.database.exists()
    assert (place.home / "workspaces" / "01abc" / "link").is_symlink()


def test_a_backup_that_does_not_fit_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path)
    monkeypatch.setattr(restoring.shutil, "disk_usage", lambda _: _Usage())

    with pytest.raises(StorageFull, match=r"needs .* has 1\.0 kB left"):
        restore(made.file, tmp_path / "home")

    assert not list((tmp_path / "home").glob(".restore-*"))


class _Usage:
    free = 1000


def test_a_disk_that_is_full_meanwhile_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path)
    make_installation(tmp_path / "home", runs=1)
    before = list_tree(tmp_path / "home")

    def fail(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "_write_content", fail)
    with pytest.raises(StorageFull):
        restore(made.file, tmp_path / "home", RestoreOptions(replace=True))

    assert list_tree(tmp_path / "home") == before


def test_two_restores_of_one_second_keep_what_was_there_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_backup(make_installation(tmp_path / "home", runs=0), tmp_path, BackupChoice(database=False))

    class Clock(datetime):
        @classmethod
        def now(cls, _: object = None) -> Clock:
            return cls(2026, 1, 1)

    monkeypatch.setattr(restoring, "datetime", Clock)
    kept = [restore(made.file, tmp_path / "home", RestoreOptions(replace=True)).kept for _ in range(2)]

    assert [path.name for (path,) in kept] == [
        "before-restore-20260101T000000Z",
        "before-restore-20260101T000000Z-again",
    ]
    assert all((path / "config.json").exists() for (path,) in kept)


def test_a_gateway_that_starts_during_a_backup_counts_as_one_that_worked(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "old", runs=0)
    answers = iter([False, False, True])
    writer = BackupWriter(
        place,
        BackupChoice(),
        None,
        is_running=lambda: next(answers),
        report=lambda _: None,
        env={"HOME": str(tmp_path)},
    )
    made = writer.write_backup(tmp_path / "one.tar.gz")

    assert (made.header.running, made.manifest.running) == (False, True)
    assert restore(made.file, tmp_path / "new").resumed is False


def test_a_backup_that_changes_after_it_was_verified_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path / "one")
    other = write_backup(make_installation(tmp_path / "other", runs=1), tmp_path / "two")
    unpack = unpacking.unpack_backup

    def change(*given: object) -> None:
        made.file.write_bytes(other.file.read_bytes())
        unpack(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(unpacking, "unpack_backup", change)
    with pytest.raises(Conflict, match="has changed since it was verified"):
        restore(made.file, tmp_path / "home")

    assert not any(path.is_file() for path in (tmp_path / "home").rglob("*"))


@pytest.mark.parametrize("steps", range(14))
def test_a_restore_that_is_interrupted_in_its_last_step_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, ALL)
    home = tmp_path / "home"
    make_installation(home, runs=1)
    left, rename = steps, os.rename

    def rename_some(source: str, target: str) -> None:
        nonlocal left
        if ".restore-probe-" not in str(source):
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
        rename(source, target)

    monkeypatch.setattr(pending.os, "rename", rename_some)
    try:
        restore(made.file, home, RestoreOptions(replace=True))
    except KeyboardInterrupt:
        assert paths.restore_plan_file(home).exists()
    monkeypatch.setattr(pending.os, "rename", rename)

    pending.finish_plan(home)

    assert not pending.finish_plan(home)
    assert not list(home.glob(".restore-*"))
    assert count_runs(home / "data" / "moongate.db") == 3
    (kept,) = home.glob("before-restore-*")
    assert count_runs(kept / "data" / "moongate.db") == 1
    assert (kept / "token").exists()


@pytest.mark.parametrize("undone", [0, 2, 99])
def test_a_rename_that_the_disk_refuses_undoes_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undone: int
) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, ALL)
    home = tmp_path / "home"
    make_installation(home, runs=1)
    before = list_tree(home)
    left, rename, turned = undone, os.rename, False

    def refuse(source: str, target: str) -> None:
        nonlocal left, turned
        if source == str(home / "data" / "moongate.db"):
            turned = True
            raise OSError(errno.EBUSY, "Device or resource busy")
        if turned and left == 0:
            raise KeyboardInterrupt
        left -= turned
        rename(source, target)

    monkeypatch.setattr(pending.os, "rename", refuse)
    with pytest.raises((Unavailable, KeyboardInterrupt)) as caught:
        restore(made.file, home, RestoreOptions(replace=True))
    monkeypatch.setattr(pending.os, "rename", rename)
    assert pending.finish_plan(home) is isinstance(caught.value, KeyboardInterrupt)

    after = list_tree(home)
    assert {name: after[name] for name in after if "before-restore-" not in name} == before
    if undone == 99:
        assert "nothing has changed" in str(caught.value)
        assert after == before


def test_what_was_made_during_an_interrupted_restore_does_not_stand_in_its_way(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, ALL)
    home = tmp_path / "home"
    restore_until_last_step(made.file, home)
    (home / "config.json").write_text("made meanwhile")

    assert pending.finish_plan(home)

    assert SECRET in (home / "config.json").read_text()
    (aside,) = home.glob("config.json.before-restore-*")
    assert aside.read_text() == "made meanwhile"


def test_an_interrupted_restore_waits_for_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, ALL)
    home = tmp_path / "home"
    restore_until_last_step(made.file, home)
    (home / "data").rename(tmp_path / "disk")
    (home / "data").mkdir()

    with pytest.raises(ConfigError, match="is its disk mounted"):
        pending.finish_plan(home)

    assert not (home / "config.json").exists()
    (home / "data").rmdir()
    (tmp_path / "disk").rename(home / "data")
    assert pending.finish_plan(home)
    assert count_runs(home / "data" / "moongate.db") == 3


@pytest.mark.parametrize("gone", ["moongate.db-wal", "moongate.db.schema-28", "moongate.db"])
def test_an_interrupted_restore_can_do_without_what_it_would_put_aside(tmp_path: Path, gone: str) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, ALL)
    home = tmp_path / "home"
    make_installation(home, runs=1)
    for ending in ("-wal", "-shm", ".schema-28"):  # a power failure leaves the first two
        (home / "data" / f"moongate.db{ending}").touch()
    restore_until_last_step(made.file, home, RestoreOptions(replace=True))
    (home / "data" / gone).unlink()

    assert pending.finish_plan(home)

    assert count_runs(home / "data" / "moongate.db") == 3


def test_an_undo_waits_for_what_it_puts_back_but_not_for_files_next_to_it(tmp_path: Path) -> None:
    home, draft, kept = tmp_path, tmp_path / ".restore-0badcafe", tmp_path / "before-restore-x"
    database = home / "moongate.db"
    moves = [Move(str(database), str(draft / "moongate.db"))]
    moves += [Move(str(kept / name), str(home / name)) for name in ("moongate.db", "moongate.db-wal")]
    pending.write_plan(home, moves, [draft])

    with pytest.raises(ConfigError, match="is its disk mounted"):
        pending.finish_plan(home)
    kept.mkdir()
    (kept / "moongate.db").write_text("from before")

    assert pending.finish_plan(home)
    assert database.read_text() == "from before"


@pytest.mark.parametrize("mounted", ["workspaces", "workspaces/01abc", "data/files", "config.json"])
def test_a_mount_point_is_seen_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounted: str
) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, ALL)
    home = tmp_path / "a home"
    make_installation(home, runs=1)
    before = list_tree(home)
    point = str(home / mounted).replace(" ", "\\040")
    (tmp_path / "mounts").write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:1 /x {point} rw - ext4 /dev/a rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS_FILE", tmp_path / "mounts")

    with pytest.raises(ConfigError, match=f"a home/{mounted} is a mount point"):
        restore(made.file, home, RestoreOptions(replace=True))

    assert list_tree(home) == before


def test_a_data_directory_that_is_a_mount_of_the_same_disk_keeps_what_was_there_itself(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path, ALL)
    home, volume = tmp_path / "home", tmp_path / "volume"
    make_installation(home, runs=1)
    (home / "data").rename(volume)
    (home / "data").mkdir()
    with bind_mount(volume, home / "data"):
        done = restore(made.file, home, RestoreOptions(replace=True))

        assert count_runs(home / "data" / "moongate.db") == 3
        assert {path.parent for path in done.kept} == {home, home / "data"}
    (kept,) = volume.glob("before-restore-*")
    assert count_runs(kept / "moongate.db") == 1


@contextlib.contextmanager
def bind_mount(source: Path, place: Path) -> Iterator[None]:
    """Mount a directory elsewhere, too, as volumes of containers are mounted."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount")
    if subprocess.run(["mount", "--bind", str(source), str(place)], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a test mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_plan_that_cannot_be_read_stops_a_start(tmp_path: Path) -> None:
    paths.restore_plan_file(tmp_path).write_text("{}")

    with pytest.raises(ConfigError, match=r"restore\.json"):
        pending.finish_plan(tmp_path)


def test_a_backup_of_an_older_version_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_installation(tmp_path / "old")
    known = opening.read_migrations()
    with monkeypatch.context() as older:
        older.setattr(opening, "read_migrations", lambda: known[:20])
        for file in place.data.glob("moongate.db*"):
            file.unlink()
        opening.open_writer(place.database, wall_clock).close()
        made = write_backup(place, tmp_path)
    assert made.header.schema == 20

    restore(made.file, tmp_path / "new")

    assert count_runs(tmp_path / "new" / "data" / "moongate.db") == 0
    assert os.listdir(tmp_path / "new" / "data" / "files")
    assert not list((tmp_path / "new" / "data").glob("*.schema-*"))
