"""A staging keeps the files of a message until a transaction stores them, and forgets them otherwise."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.file import FileLimits
from gateway.domain.page import Page
from gateway.domain.ports.file_store import ContentDraft, ContentStore
from gateway.domain.ports.store import Store
from gateway.domain.times import wall_clock
from gateway.engine.file_staging import WRITE_BYTES, make_digest
from gateway.engine.resources.files import Files
from gateway.errors import FileUnknown, InvalidRequest, StorageFull, TooLarge, Unavailable
from harness.waiting import PATIENCE
from tests.contracts.contents import list_drafts, list_hashes
from tests.contracts.stores import PAGE, spec, store_kind
from tests.support.store_kinds import SqliteKind, StoreKind

__all__ = ["store_kind"]

LIMITS = FileLimits(size=5_000_000, per_message=3, message_size=8_000_000, quota=100_000_000)


class Place:
    """A store with its contents."""

    def __init__(self, directory: Path, store: Store, contents: ContentStore) -> None:
        self.directory = directory
        self.store = store
        self.contents = contents
        self.files = Files(self.store, self.contents, LIMITS, wall_clock)

    @property
    def on_disk(self) -> list[str]:
        """What is kept: names of drafts, and hashes of contents."""
        return sorted(list_drafts(self.directory) + list_hashes(self.contents))


@pytest.fixture
async def place(store_kind: StoreKind, tmp_path: Path) -> AsyncIterator[Place]:
    store = store_kind.open(tmp_path)
    with store_kind.open_contents(tmp_path) as contents:
        yield Place(tmp_path, store, contents)
        await store.close()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        await asyncio.sleep(0)
        yield piece


async def test_a_stored_file_is_on_disk_bit_for_bit_however_its_pieces_come(place: Place) -> None:
    given = [bytes([number % 251]) * (number * 997 % 300_000) for number in range(40)][:20]
    async with place.files.open_staging() as staging:
        file = await staging.add_stream(pieces(*given), name="../a.bin", media_type="application/x-own")
        await place.files.store_upload(staging.staged[0])

    whole = b"".join(given)
    assert (file.name, file.media_type) == ("a.bin", "application/x-own")
    assert (file.size, file.sha256) == (len(whole), digest(whole))
    assert await place.files.read_content(file) == whole
    assert place.on_disk == [file.sha256]


async def test_what_was_not_stored_is_forgotten_when_the_block_ends_or_fails(place: Place) -> None:
    async with place.files.open_staging() as staging:
        await staging.add_bytes(b"1")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 the block is what fails
        async with place.files.open_staging() as staging:
            await staging.add_bytes(b"2")
            raise ZeroDivisionError

    assert place.on_disk == []
    assert await place.files.list_files(Page()) == []


async def test_a_content_that_another_file_has_stays_when_a_staging_of_the_same_is_forgotten(place: Place) -> None:
    async with place.files.open_staging() as first, place.files.open_staging() as second:
        await first.add_bytes(b"same")
        await second.add_bytes(b"same")
        stored = await place.files.store_upload(first.staged[0])

    assert await place.files.read_content(stored) == b"same"
    assert place.on_disk == [digest(b"same")]


async def test_a_content_that_another_staging_has_removed_is_put_back_when_its_run_is_accepted(
    place: Place, store_kind: StoreKind
) -> None:
    async with place.files.open_staging() as kept:
        file = await kept.add_bytes(b"same")
        async with place.files.open_staging() as forgotten:
            await forgotten.add_bytes(b"same")
        # A database knows that the first staging still holds it; a directory does not.
        assert list_hashes(place.contents) == ([] if store_kind.name == SqliteKind.name else [digest(b"same")])
        await place.store.runs.accept(spec(attachments=kept.files), staged=kept.staged)

    assert await place.files.read_content(file) == b"same"


async def test_pieces_that_break_off_leave_nothing_and_their_error_is_told(place: Place) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * WRITE_BYTES
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError, match="went away"):
        async with place.files.open_staging() as staging:
            await staging.add_stream(broken())

    assert place.on_disk == []


async def test_what_has_come_of_a_file_that_breaks_off_goes_at_once(place: Place) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * WRITE_BYTES
        raise InvalidRequest("this is not valid base64.")

    async with place.files.open_staging() as staging:
        with pytest.raises(InvalidRequest):
            await staging.add_stream(broken())

        assert place.on_disk == []


async def test_a_staging_that_is_cancelled_while_a_thread_writes_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, go_on, problems = threading.Event(), threading.Event(), []

    class SlowDraft:
        def __init__(self, draft: ContentDraft) -> None:
            self._draft = draft

        def __getattr__(self, name: str) -> object:
            return getattr(self._draft, name)

        def write(self, data: bytes) -> None:
            writes.set()
            go_on.wait(PATIENCE)
            try:
                self._draft.write(data)
            except OSError as error:
                problems.append(error)

    opened = place.contents.open_draft
    monkeypatch.setattr(place.contents, "open_draft", lambda: SlowDraft(opened()))

    async def receive() -> None:
        async with place.files.open_staging() as staging:
            await staging.add_stream(pieces(b"1" * WRITE_BYTES, b"2" * WRITE_BYTES, b"3"))

    receiving = asyncio.create_task(receive())
    assert await asyncio.to_thread(writes.wait, PATIENCE)
    receiving.cancel()
    await asyncio.sleep(0)
    receiving.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await _threads_are_done(place)

    assert place.on_disk == []
    assert [error.errno for error in problems] in ([], [errno.ECANCELED])


async def _threads_are_done(place: Place) -> None:
    """Wait until the closing of a cancelled staging is over: everything that it asks of the store comes before this."""
    await place.files.close()  # a thread may not have made its draft yet
    async with asyncio.timeout(PATIENCE):
        while place.on_disk:
            await asyncio.sleep(0.01)


async def test_a_disk_that_refuses_is_told_as_such_and_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, kind in ((errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, Unavailable)):

        def refuse(*args: object, number: int = number) -> int:
            raise OSError(number, "refused")

        with monkeypatch.context() as patch:
            patch.setattr("os.write", refuse)
            with pytest.raises(kind):
                async with place.files.open_staging() as staging:
                    await staging.add_stream(pieces(b"1", b"2", b"3"))
        assert place.on_disk == []


async def test_a_stored_message_is_answered_even_if_the_rest_cannot_be_forgotten(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object, **named: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    async with place.files.open_staging() as staging:
        await staging.add_bytes(b"1")
        await staging.add_bytes(b"2")
        stored = await place.files.store_upload(staging.staged[0])
        monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.undo()

    assert await place.files.read_content(stored) == b"1"
    assert "files.not_forgotten" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ([5_000_001], "files.size"),
        ([4_000_000, 4_000_001], "files.message_size"),
        ([1, 1, 1, 1], "files.per_message"),
    ],
)
async def test_limits_hold_whether_the_size_is_told_or_not(place: Place, sizes: list[int], why: str) -> None:
    for told in (True, False):
        with pytest.raises(TooLarge, match=why.replace(".", r"\.")):  # noqa: PT012 any of them may be refused
            async with place.files.open_staging() as staging:
                for number, size in enumerate(sizes):
                    content = bytes([number]) * size
                    await staging.add_stream(pieces(content), size=size if told else None)
        assert place.on_disk == []


async def test_stored_files_count_for_the_limits_of_a_message(place: Place) -> None:
    stored = await _store(place, b"x" * 4_500_000)
    async with place.files.open_staging() as staging:
        await staging.add_stored(stored)
        assert staging.files == ((await place.files.get_file(stored)).file,)
        assert staging.staged == ()
        with pytest.raises(TooLarge, match="message_size"):
            await staging.add_stored(stored)
        with pytest.raises(FileUnknown):
            await staging.add_stored("0" * 26)


async def _store(place: Place, content: bytes) -> str:
    async with place.files.open_staging() as staging:
        await staging.add_bytes(content)
        return (await place.files.store_upload(staging.staged[0])).id


async def test_a_quota_refuses_new_content_before_its_run_and_takes_what_is_there_already(place: Place) -> None:
    files = Files(place.store, place.contents, FileLimits(quota=10), wall_clock)
    async with files.open_staging() as staging:
        await staging.add_bytes(b"1234567890")
        await files.store_upload(staging.staged[0])

    async with files.open_staging() as staging:
        await staging.add_bytes(b"1234567890")
        await files.store_upload(staging.staged[0])
    with pytest.raises(StorageFull, match=r"files\.quota"):
        async with files.open_staging() as staging:
            await staging.add_stream(pieces(b"1"))

    assert place.on_disk == [digest(b"1234567890")]


async def test_a_file_that_is_deleted_takes_its_content_along_unless_another_one_has_it(place: Place) -> None:
    first, second = await _store(place, b"same"), await _store(place, b"same")
    await place.files.delete_file(first)
    assert place.on_disk == [digest(b"same")]

    await place.files.delete_file(second)

    assert place.on_disk == []
    assert await place.store.files.list(PAGE) == []


async def test_a_content_that_somebody_has_removed_is_a_clear_error(place: Place) -> None:
    stored = (await place.files.get_file(await _store(place, b"gone"))).file
    place.contents.remove(stored.sha256)

    with pytest.raises(FileUnknown, match="No such file"):
        await place.files.read_content(stored)


async def test_writers_and_a_sweep_of_the_same_contents_lose_none_that_was_acknowledged(place: Place) -> None:
    contents = [bytes([number]) * 1000 for number in range(4)]
    stored = []

    async def write(number: int) -> None:
        async with place.files.open_staging() as staging:
            await staging.add_bytes(contents[number % 4])
            if number % 3:
                stored.append(await place.files.store_upload(staging.staged[0]))
                if number % 3 == 1:
                    await place.files.delete_file(stored.pop().id)

    await asyncio.gather(*(write(number) for number in range(200)))

    for file in stored:
        assert digest(await place.files.read_content(file)) == file.sha256
    assert place.on_disk == sorted({file.sha256 for file in stored})


async def test_equal_files_have_equal_digests_wherever_they_are_stored(place: Place) -> None:
    async def digest_of(*contents: bytes, name: str = "a") -> bytes:
        async with place.files.open_staging() as staging:
            for content in contents:
                await staging.add_bytes(content, name=name)
            return make_digest(staging.files)

    assert await digest_of(b"1", b"2") == await digest_of(b"1", b"2")
    others = [await digest_of(b"2", b"1"), await digest_of(b"1"), await digest_of(b"1", b"2", name="b")]
    assert await digest_of(b"1", b"2") not in others
