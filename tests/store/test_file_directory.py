"""The contents of files in a directory, beyond the contract: what lies there, and what a crash leaves."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.store import file_directory
from gateway.store.file_directory import DRAFTS, DirectoryDraft, FileDirectory

CONTENT = b"some content"
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def contents(tmp_path: Path) -> FileDirectory:
    return FileDirectory(tmp_path / "files", "me@1/2/3", lambda _: True)


def receive(contents: FileDirectory, content: bytes = CONTENT) -> DirectoryDraft:
    draft = contents.open_draft()
    write_and_finish(draft, content)
    return draft


def write_and_finish(draft: DirectoryDraft, content: bytes = CONTENT) -> None:
    draft.write(content)
    draft.finish()


def drafts_in(directory: Path) -> list[str]:
    return [path.name for path in (directory / "files" / DRAFTS).rglob("*") if path.is_file()]


def all_hashes(contents: FileDirectory) -> list[str]:
    return sorted(sha256 for group in contents.list_contents() for sha256 in group)


def test_a_content_lies_at_its_hash_and_only_its_owner_may_read_it(contents: FileDirectory, tmp_path: Path) -> None:
    draft = contents.open_draft()
    for piece in (CONTENT[:4], b"", CONTENT[4:]):
        draft.write(piece)

    assert draft.sha256 is None
    assert draft.finish() == draft.sha256 == HASH
    draft.discard()
    draft.discard()

    at = contents.locate(HASH)
    assert at == tmp_path / "files" / HASH[:2] / HASH[2:]
    assert (at.read_bytes(), draft.size) == (CONTENT, len(CONTENT))
    if os.name == "posix":
        assert stat.S_IMODE(at.stat().st_mode) == 0o600
        assert {stat.S_IMODE(place.stat().st_mode) for place in (at.parent, tmp_path / "files")} == {0o700}
    assert drafts_in(tmp_path) == []
    assert all_hashes(contents) == [HASH]


def test_a_content_is_on_disk_before_its_name_is_and_its_name_before_finish_returns(
    contents: FileDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, link = os.fsync, os.link
    kinds: dict[bool, str] = {True: "directory", False: "file"}

    def record_sync(descriptor: int) -> None:
        steps.append(f"sync {kinds[stat.S_ISDIR(os.fstat(descriptor).st_mode)]}")
        sync(descriptor)

    def record_link(*args: Path) -> None:
        steps.append("link")
        link(*args)

    receive(contents, b"so that the directories are there")
    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "link", record_link)
    receive(contents)
    assert steps == ["sync file", "link", "sync directory", "sync directory"]

    steps.clear()
    receive(contents)
    assert steps == ["sync file", "sync directory"], "who placed it first may have crashed since"


def test_a_removed_content_is_put_back_by_the_draft_of_who_still_needs_it(contents: FileDirectory) -> None:
    draft = receive(contents)
    contents.remove(HASH)
    contents.remove(HASH)
    assert not contents.locate(HASH).exists()

    draft.place()
    draft.place()

    assert contents.locate(HASH).read_bytes() == CONTENT


def test_a_file_system_without_hard_links_gets_a_whole_copy_and_no_half_one(
    contents: FileDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    receive(contents).discard()
    assert contents.locate(HASH).read_bytes() == CONTENT
    if os.name == "posix":
        assert stat.S_IMODE(contents.locate(HASH).stat().st_mode) == 0o600

    def break_off(reading: object, writing: object, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_directory.shutil, "copyfileobj", break_off)
    with pytest.raises(OSError, match="No space"):
        receive(contents, b"another one")
    assert all_hashes(contents) == [HASH]
    assert drafts_in(tmp_path) == ["2"]


def test_only_drafts_of_processes_that_have_ended_are_removed(tmp_path: Path) -> None:
    alive = {"me", "other"}
    made = {name: FileDirectory(tmp_path / "files", name, alive.__contains__) for name in ("me", "other", "dead")}
    for contents in made.values():
        contents.open_draft().write(b"half")
    (tmp_path / "files" / DRAFTS / "not hexadecimal").mkdir()
    (tmp_path / "files" / DRAFTS / "a file").write_bytes(b"")

    assert made["me"].remove_abandoned_drafts() == 1

    assert sorted(bytes.fromhex(p.name).decode() for p in (tmp_path / "files" / DRAFTS).iterdir() if p.is_dir()) == [
        "me",
        "other",
    ]


def test_only_contents_are_listed_whatever_else_lies_there(contents: FileDirectory, tmp_path: Path) -> None:
    assert all_hashes(contents) == []
    assert contents.remove_abandoned_drafts() == 0
    receive(contents)
    for odd in ("README", f"{HASH[:2]}/{'g' * 62}", f"{HASH[:2]}/short", "zz/" + "0" * 62):
        (tmp_path / "files" / odd).parent.mkdir(exist_ok=True)
        (tmp_path / "files" / odd).write_bytes(b"")

    assert all_hashes(contents) == [HASH]


def test_one_process_numbers_its_drafts_whatever_thread_opens_them(contents: FileDirectory) -> None:
    def open_and_write(_: int) -> None:
        contents.open_draft().write(b"x")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(open_and_write, range(500)))
