"""Copies of contents on one machine: good ones are found, and those that are not needed go."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from gateway.store.file_directory import FileDirectory
from gateway.store.postgres import content_cache
from gateway.store.postgres.content_cache import CACHE_GRACE_SECONDS, CACHE_USE_SECONDS, ContentCache
from tests.support.files_below import list_files

MAX_BYTES = 250


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return open_cache(tmp_path)


def open_cache(directory: Path) -> ContentCache:
    return ContentCache(FileDirectory(directory / "files", "me", lambda _: True), MAX_BYTES)


def fill(cache: ContentCache, content: bytes, *, used_before: float = 0) -> Path:
    """Put a copy there that was last used so many seconds before now."""
    draft = cache.open_draft()
    path = cache.locate(draft.finish(content))
    draft.discard()
    then = time.time() - used_before
    os.utime(path, (then, then))
    return path


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def list_copies(directory: Path) -> list[Path]:
    return list_files(directory / "files")


def test_a_copy_is_checked_once_and_again_when_it_has_changed(
    cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, checked = fill(cache, b"1", used_before=60), []
    compute = content_cache._compute_sha256

    def record(path: Path) -> str:
        checked.append(path)
        return compute(path)

    monkeypatch.setattr(content_cache, "_compute_sha256", record)
    assert [cache.find_checked(digest(b"1")) for _ in range(3)] == [True] * 3
    assert checked == [path]

    path.write_bytes(b"2")
    assert [cache.find_checked(digest(b"1")) for _ in range(2)] == [False] * 2
    assert not path.exists()


def test_so_many_copies_are_known_and_no_more(cache: ContentCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_cache, "MAX_KNOWN_COPIES", 3)
    for number in range(10):
        fill(cache, bytes([number]))
        assert cache.find_checked(digest(bytes([number])))

    assert len(cache._checked) <= 3


def test_the_oldest_copies_go_when_there_are_too_many(cache: ContentCache, tmp_path: Path) -> None:
    oldest, *_, newest = (
        fill(cache, bytes([number]) * 100, used_before=CACHE_GRACE_SECONDS + 1000 - number) for number in range(5)
    )
    assert cache.find_checked(digest(bytes(100))), "somebody has used it a moment ago"

    assert cache.sweep(lambda hashes: hashes) == 3

    assert list_copies(tmp_path) == sorted([oldest, newest])


def test_a_copy_that_was_used_a_moment_ago_stays_however_large_it_is(cache: ContentCache, tmp_path: Path) -> None:
    path = fill(cache, b"x" * 2 * MAX_BYTES)

    assert cache.sweep(lambda hashes: []) == 0

    assert list_copies(tmp_path) == [path]


def test_copies_go_that_nobody_uses_and_whose_content_is_gone(cache: ContentCache, tmp_path: Path) -> None:
    fill(cache, b"unused", used_before=CACHE_USE_SECONDS + 60)
    fill(cache, b"gone", used_before=CACHE_GRACE_SECONDS + 60)
    used, new = fill(cache, b"used", used_before=CACHE_GRACE_SECONDS + 60), fill(cache, b"new")

    assert cache.sweep(lambda hashes: set(hashes) - {digest(b"gone")}) == 2

    assert list_copies(tmp_path) == sorted([used, new])


def test_a_use_is_noted_also_for_the_other_processes_and_changes_nothing_else(
    cache: ContentCache, tmp_path: Path
) -> None:
    path = fill(cache, b"1", used_before=CACHE_USE_SECONDS + 60)
    changed = path.stat().st_mtime_ns
    assert cache.find_checked(digest(b"1"))

    assert open_cache(tmp_path).sweep(lambda hashes: hashes) == 0
    assert path.stat().st_mtime_ns == changed


def test_copies_that_another_process_removes_meanwhile_are_no_trouble(cache: ContentCache, tmp_path: Path) -> None:
    paths = [fill(cache, bytes([number]), used_before=CACHE_USE_SECONDS + 60) for number in range(3)]

    def remove_first(hashes: object) -> list[str]:
        for path in paths:
            path.unlink(missing_ok=True)
        return []

    assert cache.sweep(remove_first) == 0
    assert list_copies(tmp_path) == []


def test_a_sweep_is_due_when_an_eighth_was_added(cache: ContentCache) -> None:
    added = [cache.count_added(10) for _ in range(4)]
    cache.sweep(lambda hashes: hashes)

    assert (added, cache.count_added(10)) == ([False, False, False, True], False)
