"""The last results of backups survive in their file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.backup import status
from gateway.backup.status import BackupStatus


def test_the_last_success_and_the_last_failure_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1, 2, 3])
    monkeypatch.setattr(status, "wall_clock", lambda: next(moments))
    assert status.read_backup_status(tmp_path) == BackupStatus()

    status.record_failure(tmp_path, "the disk is full.")
    failed = status.read_backup_status(tmp_path)
    status.record_success(tmp_path, tmp_path / "one", 5)
    made = status.read_backup_status(tmp_path)
    status.record_failure(tmp_path, "again")

    assert failed.failure_since == (1, "the disk is full.")
    assert (made.last_success, made.failure_since) == ((2, str(tmp_path / "one"), 5, 0), None)
    assert status.read_backup_status(tmp_path).failure_since == (3, "again")
    assert (tmp_path / "backup-status.json").stat().st_mode & 0o777 == 0o600


def test_an_installation_keeps_its_id(tmp_path: Path) -> None:
    first = status.identify_installation(tmp_path)
    status.record_success(tmp_path, tmp_path / "one", 5, 3)

    assert status.identify_installation(tmp_path) == first
    assert status.identify_installation(tmp_path / "none") == ""
    found = status.read_backup_status(tmp_path)
    assert (len(first), found.last_success and found.last_success.lost) == (16, 3)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"last_success": 1}', '{"last_success": {"at": 1}}'])
def test_a_file_that_cannot_be_read_tells_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "backup-status.json").write_text(content)
    (tmp_path / "backup-status.json").chmod(0o600)

    assert status.read_backup_status(tmp_path) == BackupStatus()
