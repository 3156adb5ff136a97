"""The sweep removes what nobody uses and what crashes have left behind, and nothing else."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.file import FileLimits
from gateway.domain.retention import Retention
from gateway.engine.background import file_sweep
from gateway.engine.background.file_sweep import FileSweep
from gateway.engine.resources.files import Files
from gateway.store.file_directory import FileDirectory
from harness.waiting import until
from tests.contracts.stores import PAGE, SteppedClock, claim_one, finish, spec
from tests.engine.stage import open_store
from tests.support.files_below import read_files

DAY = 86_400_000


class Place:
    def __init__(self, directory: Path, clock: SteppedClock) -> None:
        self.directory = directory
        self.clock = clock
        self.store = open_store(directory, clock=clock)
        self.contents = FileDirectory(directory / "files", "me", {"me", "peer"}.__contains__)
        self.files = Files(self.store, self.contents, FileLimits(), clock)
        #: the contents as other processes see them
        self.others = {"me": self.contents}

    async def upload(self, content: bytes) -> str:
        async with self.files.open_staging() as staging:
            await staging.add_bytes(content)
            return (await self.files.store_upload(staging.staged[0])).id

    async def sweep(self, days: float | None = 1.0) -> None:
        """Make one round, as the service does when it starts."""
        await FileSweep(self.store, self.contents, Retention(unused_files_days=days), self.clock)._run_round()

    @property
    def on_disk(self) -> list[bytes]:
        return read_files(self.directory / "files")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    opened = Place(tmp_path, SteppedClock())
    yield opened
    await opened.store.close()


def leave(place: Place, owner: str, content: bytes, *, finished: bool) -> None:
    """Leave on disk what a process that was killed leaves there."""
    draft = place.others.setdefault(owner, FileDirectory(place.directory / "files", owner, lambda _: True)).open_draft()
    draft.write(content)
    if finished:
        draft.finish()


async def test_what_crashes_left_behind_is_removed_and_what_is_stored_or_still_coming_stays(place: Place) -> None:
    await place.upload(b"stored")
    leave(place, "dead", b"dead half", finished=False)
    leave(place, "dead", b"dead whole", finished=True)
    leave(place, "peer", b"peer half", finished=False)
    leave(place, "me", b"my half", finished=False)

    await place.sweep()

    assert place.on_disk == [b"my half", b"peer half", b"stored"]


async def test_a_message_that_comes_while_the_sweep_runs_gets_its_file_back(place: Place) -> None:
    async with place.files.open_staging() as staging:
        file = await staging.add_bytes(b"coming")
        await place.sweep()
        await place.store.runs.accept(spec(attachments=staging.files), staged=staging.staged)

    assert await place.files.read_content(file) == b"coming"
    await place.sweep()
    assert place.on_disk == [b"coming"]


async def test_a_file_that_another_process_stored_is_not_removed(place: Place) -> None:
    other = open_store(place.directory, clock=place.clock)
    peer = Files(other, FileDirectory(place.directory / "files", "peer", lambda _: True), FileLimits(), place.clock)
    async with peer.open_staging() as staging:
        await staging.add_bytes(b"same")
        async with place.files.open_staging() as mine:
            await mine.add_bytes(b"same")
        await peer.store_upload(staging.staged[0])
    await place.sweep()

    assert place.on_disk == [b"same"]
    await other.close()


async def test_an_unused_file_is_removed_after_its_days_and_one_that_is_used_never(place: Place) -> None:
    unused, used = await place.upload(b"unused"), await place.upload(b"used")
    await place.store.runs.accept(spec(attachments=((await place.files.get_file(used)).file,)))
    place.clock.forward(DAY)
    await place.sweep()
    assert place.on_disk == [b"unused", b"used"]

    place.clock.forward(1)
    await place.sweep(None)
    assert place.on_disk == [b"unused", b"used"]
    await place.sweep()

    assert place.on_disk == [b"used"]
    assert [one.file.id for one in await place.store.files.list(PAGE)] == [used] != [unused]


async def test_more_unused_files_than_one_transaction_deletes_are_removed_in_one_round(place: Place) -> None:
    async with place.files.open_staging() as staging:
        await staging.add_bytes(b"same")
        await place.files.store_upload(staging.staged[0])
        for number in range(250):
            other = staging.staged[0].file
            file = type(other)(id=f"{number:026}", name="a", media_type="a/b", size=4, sha256=other.sha256)
            await place.store.files.add(type(staging.staged[0])(file, lambda: None))
    place.clock.forward(2 * DAY)

    await place.sweep()

    assert (place.on_disk, await place.store.files.list(PAGE)) == ([], [])


async def test_a_run_that_retention_forgets_lets_go_of_its_files_and_the_sweep_removes_them(place: Place) -> None:
    async with place.files.open_staging() as staging:
        await staging.add_bytes(b"came")
        await place.store.runs.accept(spec(attachments=staging.files), staged=staging.staged)
    run = await finish(place.store, await claim_one(place.store))
    await place.store.sessions.delete(run.spec.session, force=False)
    place.clock.forward(2 * DAY)
    await place.sweep()
    assert place.on_disk == [b"came"], "the run is kept, and its file with it"

    await place.store.runs.accept(spec())  # the newest run is never forgotten
    while (await place.store.retention.prune_runs(place.clock.now)).more:
        pass
    await place.sweep()

    assert place.on_disk == []


async def test_a_content_that_cannot_be_removed_stops_no_other_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = hashlib.sha256(b"stuck").hexdigest()
    leave(place, "dead", b"stuck", finished=True)
    leave(place, "dead", b"loose", finished=True)
    remove = place.contents.remove

    def refuse(sha256: str) -> None:
        if sha256 == stuck:
            raise PermissionError(1, "Operation not permitted")
        remove(sha256)

    monkeypatch.setattr(place.contents, "remove", refuse)
    await place.sweep()

    assert place.on_disk == [b"stuck"]


async def test_the_service_sweeps_as_soon_as_it_starts_and_again_at_intervals(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_sweep, "FILE_SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(file_sweep, "ROUNDS_BETWEEN_SEARCHES", 2)
    sweep = FileSweep(place.store, place.contents, Retention(), place.clock)
    leave(place, "dead", b"first", finished=True)
    sweep.start()
    await until(lambda: place.on_disk == [], "the sweep removes it")
    leave(place, "dead", b"second", finished=True)
    await until(lambda: place.on_disk == [], "the sweep removes it")
    await sweep.stop()
    await sweep.stop()


async def test_unused_files_go_even_where_the_disk_refuses_the_search_for_leftovers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: FileDirectory) -> int:
        raise PermissionError(errno.EACCES, "drafts")

    monkeypatch.setattr(FileDirectory, "remove_abandoned_drafts", refuse)
    await place.upload(b"unused")
    place.clock.now += 2 * DAY

    with pytest.raises(PermissionError):
        await place.sweep()

    assert place.on_disk == []
