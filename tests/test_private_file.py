"""Private files: whole or not at all, for their owner only, through no link."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import private_file


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow beyond 100 bytes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


WRITERS = [private_file.replace_private_file, private_file.create_private_file]


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_is_written_for_its_owner_only(tmp_path: Path, write: Callable[[Path, bytes], object]) -> None:
    before = os.umask(0)
    try:
        write(tmp_path / "file", b"content")
    finally:
        os.umask(before)

    assert (tmp_path / "file").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_for_others_is_written_as_the_umask_allows(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        private_file.replace_readable_file(tmp_path / "file", b"content")
    finally:
        os.umask(before)

    assert (tmp_path / "file").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("replace", [private_file.replace_private_file, private_file.replace_readable_file])
def test_a_full_disk_leaves_the_present_file_and_no_draft(
    tmp_path: Path, replace: Callable[[Path, bytes], object]
) -> None:
    replace(tmp_path / "file", b"before")

    with pytest.raises(OSError, match="too large"):
        replace(tmp_path / "file", b"x" * 1000)

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"before")]


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_nothing_of_a_file_that_was_to_be_created(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too large"):
        private_file.create_private_file(tmp_path / "file", b"x" * 1000)

    assert list(tmp_path.iterdir()) == []


def test_a_failed_rename_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()

    with pytest.raises(OSError, match="directory"):
        private_file.replace_private_file(tmp_path / "file", b"content")

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_exists_is_not_created_again(tmp_path: Path) -> None:
    assert private_file.create_private_file(tmp_path / "file", b"first")
    assert not private_file.create_private_file(tmp_path / "file", b"second")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"first")]


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"target")
    (tmp_path / "link").symlink_to(tmp_path / "target")

    private_file.replace_private_file(tmp_path / "link", b"content")

    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"target"


def test_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"target")
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(OSError, match="it is a link"):
        private_file.read_private_file(tmp_path / "link", 100)


def test_a_pipe_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="it is a pipe, not a plain file"):
        private_file.read_private_file(tmp_path / "pipe", 100)


def test_no_more_is_read_than_allowed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)

    assert private_file.read_private_file(tmp_path / "file", 10) == b"x" * 10


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what `os.fsync` is called for, in order: `file` or `directory`."""
    calls: list[str] = []

    def fsync(descriptor: int) -> None:
        calls.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    monkeypatch.setattr(os, "fsync", fsync)
    return calls


@pytest.mark.parametrize("write", WRITERS)
def test_the_file_and_then_its_directory_are_synced(
    tmp_path: Path, synced: list[str], write: Callable[[Path, bytes], object]
) -> None:
    write(tmp_path / "file", b"content")

    assert synced == ["file", "directory"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_directory_that_cannot_be_opened_does_not_fail_a_file_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], object]
) -> None:
    really_open = os.open

    def refuse_directories(path: Path, flags: int, mode: int = 0o777) -> int:
        if path == tmp_path:
            raise OSError(errno.EMFILE, "Too many open files")
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse_directories)
    write(tmp_path / "file", b"content")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"content")]


def test_a_file_that_need_not_last_waits_for_no_disk(tmp_path: Path, synced: list[str]) -> None:
    private_file.replace_private_file(tmp_path / "file", b"content", durable=False)

    assert synced == []


def test_windows_syncs_no_directory(tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    monkeypatch.setattr(private_file.os, "name", "nt")

    private_file.replace_private_file(path, b"content")

    assert synced == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can write for another user")
def test_what_root_writes_into_the_directory_of_a_user_belongs_to_the_user(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)

    private_file.replace_private_file(tmp_path / "one", b"x")
    private_file.create_private_file(tmp_path / "two", b"x")

    assert [(tmp_path / name).stat().st_uid for name in ("one", "two")] == [65534, 65534]
