"""One gateway per config: only the kernel's lock counts."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import AlreadyRunning, ConfigError
from gateway.process import identity
from gateway.supervisor import lock, record
from gateway.supervisor.record import Record

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "gateway.lock"


def mine(port: int = 1) -> Record:
    who = identity.own_identity()
    return Record(who.pid, 1, "/c", who.started, who.boot, "instance", "127.0.0.1", port, "0")


def test_only_one_process_holds_a_lock(path: Path) -> None:
    held = lock.acquire_lock(path)
    held.write_record(mine(port=4711))
    with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}, port 4711"):
        lock.acquire_lock(path)
    held.release()

    lock.acquire_lock(path).release()


@pytest.mark.skipif(sys.platform != "linux", reason="a file that is always full")
def test_a_full_disk_is_named_with_the_file(path: Path) -> None:
    full = os.open("/dev/full", os.O_RDWR)
    held = lock.Lock(path, full, full)
    with pytest.raises(ConfigError) as caught:
        held.write_record(mine())
    held.release()

    assert str(caught.value) == (
        f"cannot write the lock file {path}: No space left on device. Look at its disk: is it full?"
    )


def lowest_free_descriptor() -> int:
    number = os.dup(0)
    os.close(number)
    return number


def test_a_lock_that_another_holds_costs_no_descriptor(path: Path) -> None:
    held = lock.acquire_lock(path)
    before = lowest_free_descriptor()

    assert lock.try_lock(path) is None
    assert lowest_free_descriptor() == before
    held.release()


def test_who_looks_for_the_holder_of_a_free_lock_does_not_take_it(path: Path) -> None:
    held = lock.acquire_lock(path)
    held.write_record(mine())
    assert lock.lock_holder(path) == mine()
    held.release()

    assert lock.lock_holder(path) is None
    lock.acquire_lock(path).release()


@posix
def test_what_is_no_plain_file_costs_no_descriptor(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    os.mkfifo(path)
    before = lowest_free_descriptor()

    with pytest.raises(ConfigError, match="not a plain file"):
        lock.try_lock(path)

    assert lowest_free_descriptor() == before


def test_a_dead_holder_is_not_named(path: Path) -> None:
    held = lock.acquire_lock(path)
    held.write_record(mine()._replace(startTime="1"))

    with pytest.raises(AlreadyRunning) as caught:
        lock.acquire_lock(path)
    held.release()

    assert "pid" not in str(caught.value)


def test_a_lock_outlives_changes_to_its_files_content(path: Path) -> None:
    held = lock.acquire_lock(path)
    path.write_bytes(b"")

    with pytest.raises(AlreadyRunning):
        lock.acquire_lock(path)
    held.release()


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"{}", b"[" * 100_000, b"\xff\xfe", b'{"pid": 1}'])
def test_the_content_of_a_free_lock_does_not_matter(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    held = lock.acquire_lock(path)
    held.write_record(mine())
    held.release()

    assert record.read_record(path) == mine()


@posix
def test_children_do_not_inherit_it(path: Path) -> None:
    held = lock.acquire_lock(path)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    held.release()
    try:
        lock.acquire_lock(path).release()
    finally:
        child.kill()
        child.wait()


@posix
def test_its_file_is_private(path: Path) -> None:
    before = os.umask(0)
    lock.acquire_lock(path).release()
    os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "pipe"])
def test_only_a_plain_file_can_be_locked(path: Path, tmp_path: Path, kind: str) -> None:
    path.parent.mkdir()
    target = tmp_path / "precious"
    match kind:
        case "link":
            target.write_text("precious")
            path.symlink_to(target)
        case "dangling link":
            path.symlink_to(target)
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)

    with pytest.raises(ConfigError) as caught:
        lock.acquire_lock(path)

    assert str(path) in str(caught.value)
    assert record.read_record(path) is None
    assert target.exists() == (kind == "link")
    assert kind != "link" or target.read_text() == "precious"


# --- records ----------------------------------------------------------------------------------


def test_a_record_is_read_back_and_shows_whether_its_writer_lives() -> None:
    assert record.parse_record(mine().encode_line()) == mine()
    assert mine().is_alive
    assert not mine()._replace(startTime="1").is_alive
    assert not mine()._replace(bootId="before").is_alive


@pytest.mark.parametrize("change", [{"pid": 0}, {"pid": -1}, {"pid": "1"}, {"port": None}, {"host": 3}, {"pid": True}])
def test_a_forged_record_counts_as_none(change: dict[str, object]) -> None:
    assert record.parse_record(mine()._replace(**change).encode_line()) is None  # type: ignore[arg-type]
