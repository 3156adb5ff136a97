"""Backups that others made: damaged, hostile, or from another version."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import apsw
import msgspec
import pytest

from gateway.backup import reading, verifying
from gateway.backup.manifest import BackupHeader, PartSize
from gateway.errors import ConfigError, Conflict, StorageFull
from gateway.store.sqlite import snapshot
from tests.backup.installations import make_installation, restore, verify, write_backup

HEADER = BackupHeader(version="9.9.9", schema=0, created_at=0, host="elsewhere", home="/home", running=False)


def forge(file: Path, members: Sequence[tarfile.TarInfo], header: object = HEADER) -> Path:
    """Write an archive that begins as a backup does."""
    with tarfile.open(file, "w:gz") as made:
        content = msgspec.json.encode(header)
        first = tarfile.TarInfo("backup.json")
        first.size = len(content)
        made.addfile(first, io.BytesIO(content))
        for member in members:
            made.addfile(member, io.BytesIO(b"x" * member.size))
    return file


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.mark.parametrize(
    "hostile",
    [
        member("../outside"),
        member("workspaces/../../outside"),
        member("/etc/passwd"),
        member("workspaces//double"),
        member("workspaces/./dot"),
        member("unknown/part"),
        member("database/moongate.db", tarfile.SYMTYPE, "/etc/passwd"),
        member("workspaces/root", tarfile.SYMTYPE, "/"),
        member("workspaces/a/hard", tarfile.LNKTYPE, "config/config.json"),
        member("workspaces/a/device", tarfile.CHRTYPE),
        member("workspaces/a/pipe", tarfile.FIFOTYPE),
        member("workspaces/a/sparse", tarfile.GNUTYPE_SPARSE),
        member("workspaces/" + "deep/" * 300 + "file"),
        member("workspaces/" + "n" * 5000),
    ],
    ids=lambda one: one.name[:30],
)
def test_a_hostile_member_is_refused_before_anything_is_written(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    file = forge(tmp_path / "hostile.tar.gz", [hostile])

    with pytest.raises(Conflict, match="damaged, or no backup"):
        restore(file, tmp_path / "home")

    assert list((tmp_path / "home").iterdir()) == []


def test_a_name_of_many_megabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    file = forge(tmp_path / "large.tar.gz", [member("workspaces/" + "n" * (1 << 20))])

    with pytest.raises(Conflict, match="too long"):
        verify(file)


def test_members_that_the_manifest_does_not_tell_of_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="end is missing"):
        verify(forge(tmp_path / "bomb.tar.gz", [member("workspaces/zeros", size=10 << 20)]))


def test_each_flipped_byte_is_noticed(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "home"), tmp_path)
    whole = made.file.read_bytes()
    content = gzip.decompress(whole)
    for at in range(10, len(whole), max(1, len(whole) // 60)):
        flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with contextlib.suppress(zlib.error, OSError, EOFError):
            if gzip.decompress(flipped) == content:  # of two places with the same bytes, another one is meant
                continue
        made.file.write_bytes(flipped)
        with pytest.raises(Conflict, match="damaged, or no backup"):
            verify(made.file)


def test_each_cut_is_noticed(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "home"), tmp_path)
    whole = made.file.read_bytes()
    for end in (*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1):
        made.file.write_bytes(whole[:end])
        with pytest.raises(Conflict, match="damaged, or no backup"):
            verify(made.file)


def test_a_member_that_was_changed_is_named_though_the_archive_is_whole(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "home"), tmp_path)
    unpacked = gzip.decompress(made.file.read_bytes())
    assert unpacked.count(b"#!/bin/sh") == 1
    made.file.write_bytes(gzip.compress(unpacked.replace(b"#!/bin/sh", b"#!/bin/xx")))

    with pytest.raises(Conflict, match=r"workspaces/01abc/src/run\.sh. has another content"):
        verify(made.file)


@pytest.mark.parametrize(
    "content",
    [b"", b"not an archive", gzip.compress(b"not a tar"), gzip.compress(bytes(1 << 20))],
    ids=["empty", "text", "no tar", "zeros"],
)
def test_a_file_that_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)

    with pytest.raises(Conflict, match="no backup"):
        verify(tmp_path / "file")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.tar\.gz"):
        verify(tmp_path / "none.tar.gz")


def test_a_newer_format_is_refused_by_the_version_that_made_it(tmp_path: Path) -> None:
    newer = {"format": 2, "version": "9.9.9", "unknown": True}

    with pytest.raises(ConfigError, match=r"format 2, which Moongate 9\.9\.9 made"):
        verify(forge(tmp_path / "newer.tar.gz", [], newer))


def test_a_newer_database_is_refused_by_the_version_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_backup(make_installation(tmp_path / "old"), tmp_path)
    known = reading.BACKUP_FORMAT
    monkeypatch.setattr("gateway.store.sqlite.opening.read_migrations", lambda: [None] * (made.header.schema - 1))

    with pytest.raises(ConfigError, match=f"schema {made.header.schema}, newer than") as refused:
        restore(made.file, tmp_path / "home")

    assert known == 1
    assert "Install the build that made it" in str(refused.value)
    assert list((tmp_path / "home").iterdir()) == []


def test_parts_of_another_size_than_the_manifest_tells_are_refused(tmp_path: Path) -> None:
    made = write_backup(make_installation(tmp_path / "old", runs=0), tmp_path)
    parts = {**made.manifest.parts, "workspaces": PartSize(files=0, bytes=0)}
    told = msgspec.json.encode(msgspec.structs.replace(made.manifest, parts=parts))
    with tarfile.open(made.file) as old, tarfile.open(tmp_path / "forged.tar.gz", "w:gz") as forged:
        for one in old:
            content = told if one.name == "manifest.json" else old.extractfile(one).read() if one.isreg() else b""  # type: ignore[union-attr]
            one.size = len(content)
            forged.addfile(one, io.BytesIO(content))

    with pytest.raises(Conflict, match="not those of its manifest"):
        verify(tmp_path / "forged.tar.gz")


def test_a_database_that_was_damaged_before_it_was_backed_up_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_installation(tmp_path / "old")

    def copy_damaged(_: Path, to: Path, __: object) -> int:
        with contextlib.closing(apsw.Connection(str(place.database))) as database:
            (root,) = (database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'runs_running'").get,)
            database.execute("VACUUM INTO ?", (str(to),))
        with to.open("r+b") as copy:
            copy.seek(4096 * (root - 1))
            copy.write(b"\0" * 4096)
        return 0

    monkeypatch.setattr(snapshot, "copy_database", copy_damaged)
    made = write_backup(place, tmp_path)
    verify(made.file)

    with pytest.raises(Conflict, match="its database is damaged"):
        verifying.verify_with_database(made.file, lambda _: None)


def test_a_full_disk_for_temporary_files_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_backup(make_installation(tmp_path / "old", runs=0), tmp_path)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(verifying, "describe_member", fail)
    with pytest.raises(StorageFull, match="TMPDIR"):
        verify(made.file)
