"""Which backups of a directory are the newest."""

from __future__ import annotations

import shutil
from pathlib import Path

from gateway.backup import keeping, writing
from gateway.backup.contents import BackupChoice
from gateway.backup.manifest import Purpose
from tests.backup.installations import make_installation, write_backup


def make(directory: Path, *names: str) -> list[Path]:
    for name in names:
        (directory / name).write_text("")
    return [directory / name for name in names]


def test_backups_are_told_by_their_names_the_newest_first(tmp_path: Path) -> None:
    old, new = make(tmp_path, "moongate-a-b-20260101T000000Z.tar.gz", "moongate-c-20260201T000000Z.tar.gz")
    make(tmp_path, "moongate-c-20260201T000000Z.tar", "other.tar.gz", ".moongate-backup-1.partial")

    assert keeping.list_backups(tmp_path) == [new, old]
    assert keeping.list_backups(tmp_path, "a-b") == [old]
    assert keeping.list_backups(tmp_path / "none") == []
    assert keeping.read_moment(old) == 1_767_225_600_000
    assert keeping.read_moment(tmp_path / "moongate-c-20269901T000000Z.tar.gz") is None


def test_the_name_of_a_backup_is_one_that_is_told(tmp_path: Path) -> None:
    made = writing.choose_target(tmp_path, 1_767_225_600)

    (kept,) = make(tmp_path, made.name)
    assert keeping.list_backups(tmp_path, writing.name_host()) == [kept]
    assert keeping.read_moment(kept) == 1_767_225_600_000


def test_only_the_oldest_of_the_plan_of_this_installation_are_removed(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home", runs=0)

    def back_up(day: int, purpose: Purpose = Purpose.PLAN, installation: str = "mine") -> Path:
        few = BackupChoice(database=False, workspaces=False)
        return write_backup(place, tmp_path, few, purpose=purpose, installation=installation, now=day * 86_400).file

    first, second, third, fourth, fifth = (back_up(day) for day in range(10, 15))
    others = [
        back_up(1, installation="theirs"),
        back_up(2, Purpose.HAND),
        back_up(3, Purpose.UPDATE),
        back_up(4, installation=""),
    ]
    others += make(tmp_path, f"moongate-{writing.name_host()}-20200101T000000Z.tar.gz")  # damaged
    shutil.copy(first, elsewhere := tmp_path / "moongate-elsewhere-20200101T000000Z.tar.gz")

    assert keeping.remove_old_backups(tmp_path, "mine", 2, second) == [fourth, third, first]

    assert list(keeping.list_planned_backups(tmp_path, "mine")) == [fifth, second]
    assert set(keeping.list_backups(tmp_path)) == {fifth, second, elsewhere, *others}
    assert keeping.remove_old_backups(tmp_path, "", 1, fifth) == []


def test_two_backups_of_one_second_have_two_names(tmp_path: Path) -> None:
    make(tmp_path, writing.choose_target(tmp_path, 5).name)

    assert writing.choose_target(tmp_path, 5).name.endswith("-19700101T000006Z.tar.gz")
