"""What a backup contains, and what is left of one that fails."""

from __future__ import annotations

import errno
import gzip
import os
import socket
import tarfile
from pathlib import Path

import pytest

from gateway.backup import archive, drafts
from gateway.backup.contents import BackupChoice
from gateway.backup.manifest import Part
from gateway.errors import ConfigError, Conflict, StorageFull
from tests.backup.installations import SECRET, VARIABLE, make_installation, verify, write_backup


def names(file: Path) -> set[str]:
    with tarfile.open(file) as found:
        return set(found.getnames())


def read(file: Path, name: str) -> bytes:
    with tarfile.open(file) as found:
        member = found.extractfile(name)
        assert member is not None
        return member.read()


def test_a_backup_has_everything_but_secrets_and_drafts(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")

    made = write_backup(place, tmp_path / "backups")

    assert made.file.stat().st_mode & 0o777 == 0o600
    found = names(made.file)
    assert {"config/config.json", "state/found-agent.json", "database/moongate.db"} <= found
    assert {"workspaces/01abc/link", "workspaces/01abc/src/empty", "workspaces/01abc/src/run.sh"} <= found
    assert not any(name.startswith(("secrets", "files/drafts")) for name in found)
    assert SECRET.encode() not in gzip.decompress(made.file.read_bytes())
    assert read(made.file, "config/config.json") == place.config.read_bytes().replace(
        SECRET.encode(), f"${{{VARIABLE}}}".encode()
    )
    assert made.manifest.variables == [VARIABLE]
    assert verify(made.file).manifest == made.manifest


def test_secrets_come_along_if_asked_for(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")

    made = write_backup(place, tmp_path, BackupChoice(secrets=True))

    assert {"secrets/.env", "secrets/token", "secrets/webhook-secret"} <= names(made.file)
    assert read(made.file, "config/config.json") == place.config.read_bytes()
    assert made.manifest.variables == []


def test_parts_may_be_left_out(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")

    made = write_backup(place, tmp_path, BackupChoice(database=False, workspaces=False))

    assert set(made.manifest.parts) == {Part.CONFIG, Part.STATE}


def test_what_cannot_be_taken_is_named_and_the_rest_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_installation(tmp_path / "home")
    work = place.home / "workspaces" / "01abc"
    os.mkfifo(work / "pipe")
    monkeypatch.chdir(work)
    with socket.socket(socket.AF_UNIX) as made_socket:
        made_socket.bind("socket")
    (work / "gone").write_text("for a moment")
    opened = os.open

    def open_or_lose(path: str | Path, flags: int, *more: int, **named: int) -> int:
        if os.path.basename(path) == "gone":
            os.unlink(path)
        if os.path.basename(path) == "run.sh":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *more, **named)

    monkeypatch.setattr(archive.os, "open", open_or_lose)
    made = write_backup(place, tmp_path)

    assert {one.name.rpartition("/")[2]: one.reason for one in made.manifest.omissions} == {
        "gone": "it was removed meanwhile",
        "pipe": "it is a socket, a pipe or a device",
        "run.sh": "it cannot be read: permission denied",
        "socket": "it is a socket, a pipe or a device",
    }
    assert (made.manifest.omitted, made.manifest.lost) == (4, 1)
    verify(made.file)


def test_a_file_that_becomes_shorter_while_it_is_read_does_not_spoil_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "ARCHIVE_CHUNK_BYTES", 1000)
    place = make_installation(tmp_path / "home")
    large = place.home / "workspaces" / "01abc" / "large"
    large.write_bytes(b"x" * 5000)
    stat = os.fstat

    def shrink(descriptor: int) -> os.stat_result:
        found = stat(descriptor)
        if found.st_size == 5000:
            os.truncate(large, 2500)
        return found

    monkeypatch.setattr(archive.os, "fstat", shrink)
    made = write_backup(place, tmp_path)

    assert read(made.file, "workspaces/01abc/large") == b"x" * 2500 + bytes(2500)
    assert [one.name for one in made.manifest.omissions] == ["workspaces/01abc/large"]
    verify(made.file)


def test_a_damaged_content_of_a_file_is_named(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    (stored,) = (path for path in (place.data / "files").glob("??/*"))
    stored.write_bytes(b"something else")

    made = write_backup(place, tmp_path)

    assert "damaged" in made.manifest.omissions[0].reason


def test_a_name_that_is_not_utf8_survives(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    name = os.fsencode(place.home / "workspaces" / "01abc") + b"/caf\xe9-" + b"long" * 40
    with open(name, "w"):
        pass

    made = write_backup(place, tmp_path)

    assert verify(made.file).manifest.members == made.manifest.members


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    (tmp_path / "mine.tar.gz").write_text("mine")

    with pytest.raises(Conflict, match="already"):
        write_backup(place, tmp_path / "mine.tar.gz")

    assert (tmp_path / "mine.tar.gz").read_text() == "mine"


def test_without_a_database_there_is_no_backup(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    place.database.unlink()

    with pytest.raises(ConfigError, match="no database"):
        write_backup(place, tmp_path / "backups")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_installation(tmp_path / "home")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive.ArchiveWriter, "add_link", fail)
    with pytest.raises(StorageFull, match="full"):
        write_backup(place, tmp_path / "backups")

    assert list((tmp_path / "backups").iterdir()) == []


def test_drafts_of_killed_backups_are_removed_and_those_at_work_are_not(tmp_path: Path) -> None:
    dead = tmp_path / ".moongate-backup-0000.partial"
    pieces = [dead.with_suffix(".piece"), tmp_path / ".moongate-backup-0000.piece-journal"]
    for path in (dead, *pieces):
        path.write_text("left over")

    with drafts.open_draft(tmp_path / "one.tar.gz") as (_, _piece):
        assert not any(path.exists() for path in (dead, *pieces))
        (living,) = tmp_path.iterdir()
        drafts.remove_leftovers(tmp_path)
        assert living.exists()
