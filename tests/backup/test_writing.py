"""What a backup contains, and what is left of one that fails."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import json
import os
import shutil
import socket
import tarfile
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway import paths
from gateway.backup import archive, contents, drafts
from gateway.backup.contents import BackupChoice
from gateway.backup.manifest import Part
from gateway.errors import ConfigError, Conflict, StorageFull
from gateway.security import secret_file
from gateway.store.sqlite import snapshot
from tests.backup.installations import CONTENT, SECRET, VARIABLE, make_installation, restore, verify, write_backup


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


@pytest.mark.parametrize("secrets", [False, True])
def test_no_backup_has_the_key_of_the_digests_of_settings(tmp_path: Path, secrets: bool) -> None:
    place = make_installation(tmp_path / "home", runs=0)
    key = secret_file.read_or_create(paths.settings_key_file(place.home))

    made = write_backup(place, tmp_path, BackupChoice(secrets=secrets))

    assert key.encode() not in gzip.decompress(made.file.read_bytes())


def test_secrets_behind_a_link_come_along(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home", runs=0)
    (place.home / ".env").rename(tmp_path / "dotfile")
    (place.home / ".env").symlink_to(tmp_path / "dotfile")

    made = write_backup(place, tmp_path, BackupChoice(secrets=True, database=False, workspaces=False))

    assert read(made.file, "secrets/.env") == b"KEY=1\n"
    assert made.manifest.omitted == 0


def test_workspaces_elsewhere_are_named(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home", runs=0)
    given = ["/srv/work", str(place.home / "own"), "${WORK}"]
    place.config.write_text(json.dumps({"agents": {"list": [{"workspace": one} for one in given]}}))

    made = write_backup(place, tmp_path, BackupChoice(database=False))

    assert [(one.name, made.manifest.lost) for one in made.manifest.omissions] == [("/srv/work", 0)]


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


def test_a_file_that_is_written_to_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_installation(tmp_path / "home")
    log = place.home / "workspaces" / "01abc" / "log"
    log.write_text("one line\n")
    write = archive.ArchiveWriter._write_content

    def write_more(self: archive.ArchiveWriter, name: str, *given: Any) -> bool:
        if name.endswith("/log"):
            with log.open("a") as file:
                file.write("another\n")
        return write(self, name, *given)

    monkeypatch.setattr(archive.ArchiveWriter, "_write_content", write_more)
    made = write_backup(place, tmp_path)

    assert read(made.file, "workspaces/01abc/log") == b"one line\n"
    (omission,) = made.manifest.omissions
    assert (omission.name, "it changed while" in omission.reason) == ("workspaces/01abc/log", True)
    assert made.manifest.lost == 0


def test_what_no_reader_would_take_is_left_out_and_named(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    (tmp_path / "elsewhere").mkdir()
    (place.home / "workspaces" / "session").symlink_to(tmp_path / "elsewhere")
    (place.data / "files" / "ab").symlink_to(tmp_path / "elsewhere")
    deep = place.home / "workspaces" / "01abc" / "/".join("d" * 260)
    deep.mkdir(parents=True)
    (place.home / "workspaces" / "01abc" / "line\nbreak").write_text("")

    made = write_backup(place, tmp_path)

    names = [one.name for one in made.manifest.omissions]
    assert {"workspaces/session", "files/ab"} < set(names)
    assert made.manifest.lost == len(names) == 2 + 6
    verify(made.file)
    restore(made.file, tmp_path / "new")
    assert (tmp_path / "new" / "workspaces" / "01abc" / "line\nbreak").exists()


def test_contents_to_which_the_database_refers_and_that_are_not_there_are_named(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    with contextlib.closing(apsw.Connection(str(place.database))) as database:
        for sha256 in ("a" * 64, hashlib.sha256(CONTENT).hexdigest()):
            database.execute("INSERT INTO contents (sha256, size) VALUES (?, 5)", (sha256,))

    made = write_backup(place, tmp_path)

    (omission,) = made.manifest.omissions
    assert (omission.name, made.manifest.lost) == (f"files/aa/{'a' * 62}", 1)


def test_contents_that_are_removed_during_the_backup_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_installation(tmp_path / "home")
    with contextlib.closing(apsw.Connection(str(place.database))) as database:
        database.execute("INSERT INTO contents (sha256, size) VALUES (?, 5)", ("a" * 64,))
    add = contents.add_stored_files

    def remove_then_add(*given: Any) -> None:
        with contextlib.closing(apsw.Connection(str(place.database))) as database:
            database.execute("DELETE FROM contents")
        add(*given)

    monkeypatch.setattr(contents, "add_stored_files", remove_then_add)
    made = write_backup(place, tmp_path)

    assert [one.reason for one in made.manifest.omissions] == ["it was removed meanwhile"]
    assert made.manifest.lost == 0


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_gateway_that_starts_and_ends_during_a_backup_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    place = make_installation(tmp_path / "home")
    if is_killed:  # the log of the database was not written into it
        shutil.copytree(place.data, tmp_path / "copy")
        killed = apsw.Connection(str(place.database))
        killed.execute("PRAGMA journal_mode = WAL; CREATE TABLE more (x)")
        for ending in ("", "-wal"):
            shutil.copy(f"{place.database}{ending}", tmp_path / "copy")
        killed.close()
        shutil.rmtree(place.data)
        (tmp_path / "copy").rename(place.data)
    assert not write_backup(place, tmp_path, now=1).manifest.running
    add = contents.add_tree

    def work_then_add(archive: Any, part: str, *given: Any, **named: Any) -> None:
        if part == "workspaces":
            with contextlib.closing(apsw.Connection(str(place.database))) as database:
                database.execute("DELETE FROM runs")
        add(archive, part, *given, **named)

    monkeypatch.setattr(contents, "add_tree", work_then_add)

    assert write_backup(place, tmp_path, now=2).manifest.running


@pytest.mark.parametrize("inside", ["workspaces/01abc", "data/files/backups", "link"])
def test_a_backup_is_not_made_in_what_is_backed_up(tmp_path: Path, inside: str) -> None:
    place = make_installation(tmp_path / "home")
    (place.home / "link").symlink_to("workspaces")

    with pytest.raises(ConfigError, match="is backed up itself"):
        write_backup(place, place.home / inside)

    assert not (place.data / "files" / "backups").exists()


def test_a_disk_without_room_for_the_database_is_seen_before_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_installation(tmp_path / "home")
    monkeypatch.setattr(snapshot, "measure_database", lambda _: 1 << 60)

    with pytest.raises(StorageFull, match=r"needs 1152922 TB, and"):
        write_backup(place, tmp_path / "backups")


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


def test_a_name_that_another_backup_takes_meanwhile_is_left_to_it(tmp_path: Path) -> None:
    first, free = tmp_path / "one.tar.gz", iter([tmp_path / "two.tar.gz", tmp_path / "three.tar.gz"])
    with drafts.open_draft(first, lambda: next(free)) as draft:
        draft.file.write(b"mine")
        first.write_bytes(b"of another")
        (tmp_path / "two.tar.gz").write_bytes(b"of another")

    assert (draft.target.name, draft.target.read_bytes()) == ("three.tar.gz", b"mine")
    assert {path.name for path in tmp_path.iterdir()} == {"one.tar.gz", "two.tar.gz", "three.tar.gz"}


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

    with drafts.open_draft(tmp_path / "one.tar.gz"):
        assert not any(path.exists() for path in (dead, *pieces))
        (living,) = tmp_path.iterdir()
        drafts.remove_leftovers(tmp_path)
        assert living.exists()
