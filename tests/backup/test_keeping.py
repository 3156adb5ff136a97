"""Which backups of a directory are the newest."""

from __future__ import annotations

from pathlib import Path

from gateway.backup import keeping, writing


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


def test_only_the_oldest_of_this_machine_are_removed(tmp_path: Path) -> None:
    names = [f"moongate-a-2026010{day}T000000Z.tar.gz" for day in range(1, 6)]
    first, second, third, fourth, fifth = make(tmp_path, *names)
    make(tmp_path, "moongate-b-20200101T000000Z.tar.gz")

    assert keeping.remove_old_backups(tmp_path, "a", 2, second) == [fourth, third, first]

    assert keeping.list_backups(tmp_path, "a") == [fifth, second]
    assert len(keeping.list_backups(tmp_path, "b")) == 1
