"""Every store of contents keeps the contract: each content once, whole or not at all, whoever writes and removes."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.domain.ports.file_store import ContentDraft, ContentStore
from harness.waiting import PATIENCE
from tests.contracts.contents import list_drafts, list_hashes
from tests.support.store_kinds import StoreKind

CONTENT = b"some content"
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def contents(store_kind: StoreKind, tmp_path: Path) -> Iterator[ContentStore]:
    with store_kind.open_contents(tmp_path) as opened:
        yield opened


def receive(contents: ContentStore, content: bytes = CONTENT) -> ContentDraft:
    draft = contents.open_draft()
    write_and_finish(draft, content)
    return draft


def write_and_finish(draft: ContentDraft, content: bytes = CONTENT) -> None:
    draft.write(content)
    draft.finish()


async def test_a_content_that_came_in_pieces_is_found_by_its_hash(contents: ContentStore, tmp_path: Path) -> None:
    draft = contents.open_draft()
    for piece in (CONTENT[:4], b"", CONTENT[4:]):
        draft.write(piece)

    assert draft.sha256 is None
    assert draft.finish() == draft.sha256 == HASH
    draft.discard()
    draft.discard()

    assert ((await contents.fetch(HASH)).read_bytes(), draft.size) == (CONTENT, len(CONTENT))
    assert (list_drafts(tmp_path), list_hashes(contents)) == ([], [HASH])


async def test_an_empty_content_is_a_content(contents: ContentStore) -> None:
    draft = contents.open_draft()
    sha256 = draft.finish()

    assert (await contents.fetch(sha256)).read_bytes() == b""


async def test_what_nobody_has_stored_is_gone_and_may_be_removed(contents: ContentStore) -> None:
    contents.remove(HASH)

    assert not (await contents.fetch(HASH)).exists()


def test_nothing_is_there_before_it_is_whole(contents: ContentStore, tmp_path: Path) -> None:
    draft = contents.open_draft()
    draft.write(CONTENT)
    assert list_hashes(contents) == []
    draft.discard()

    assert (list_hashes(contents), list_drafts(tmp_path)) == ([], [])


async def test_the_same_content_a_hundred_times_at_once_is_one(contents: ContentStore, tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        for draft in pool.map(lambda _: receive(contents), range(100)):
            draft.discard()

    assert list_hashes(contents) == [HASH]
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == [await contents.fetch(HASH)]


async def test_a_content_that_somebody_removes_is_there_again_for_who_still_needs_it(contents: ContentStore) -> None:
    draft = receive(contents)
    contents.remove(HASH)
    contents.remove(HASH)

    draft.place()
    draft.place()

    assert (await contents.fetch(HASH)).read_bytes() == CONTENT


async def test_a_discarded_draft_whose_content_is_gone_says_so(contents: ContentStore) -> None:
    draft = receive(contents)
    draft.discard()
    draft.place()  # it is in its place
    contents.remove(HASH)
    assert not (await contents.fetch(HASH)).exists()

    with pytest.raises(OSError):
        draft.place()


def test_a_draft_is_discarded_only_when_no_thread_writes_to_it(
    contents: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its descriptor may be another file's as soon as it is closed."""
    writes, go_on, events = threading.Event(), threading.Event(), []
    write = os.write

    def slowly(descriptor: int, data: memoryview) -> int:
        writes.set()
        go_on.wait(PATIENCE)
        events.append("written")
        return write(descriptor, data)

    draft = contents.open_draft()
    monkeypatch.setattr(os, "write", slowly)
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(draft.write, CONTENT)
        assert writes.wait(PATIENCE)
        discarding = pool.submit(draft.discard)
        discarding.add_done_callback(lambda _: events.append("discarded"))
        go_on.set()
        writing.result(PATIENCE)
        discarding.result(PATIENCE)

    assert events == ["written", "discarded"]
    for late in (lambda: draft.write(CONTENT), draft.finish):
        with pytest.raises(OSError, match="discarded"):
            late()
    assert list_hashes(contents) == []


@pytest.mark.parametrize("refused", ["write", "fsync", "link"])
def test_a_disk_that_is_full_at_any_step_leaves_nothing(
    contents: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    draft = contents.open_draft()
    with monkeypatch.context() as patch:
        patch.setattr(os, refused, refuse)
        with pytest.raises(OSError, match="No space"):
            write_and_finish(draft)
    draft.discard()

    assert (list_hashes(contents), list_drafts(tmp_path)) == ([], [])
    receive(contents)


def test_only_drafts_of_processes_that_have_ended_are_removed(store_kind: StoreKind, tmp_path: Path) -> None:
    alive = {"me", "other"}
    for owner in ("other", "dead"):
        with store_kind.open_contents(tmp_path, owner, alive.__contains__) as contents:
            contents.open_draft().write(b"half")
    with store_kind.open_contents(tmp_path, "me", alive.__contains__) as mine:
        mine.open_draft().write(b"half")

        assert mine.remove_abandoned_drafts() == 1

    assert len(list_drafts(tmp_path)) == 2


async def test_two_processes_on_one_machine_share_what_they_have(store_kind: StoreKind, tmp_path: Path) -> None:
    with store_kind.open_contents(tmp_path, "me") as mine, store_kind.open_contents(tmp_path, "peer") as theirs:
        receive(mine).discard()

        assert (await theirs.fetch(HASH)).read_bytes() == CONTENT
        theirs.remove(HASH)

        assert (list_hashes(mine), (await mine.fetch(HASH)).exists()) == ([], False)
