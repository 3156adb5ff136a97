"""Every store keeps the contract: files, what refers to them, and what is nobody's any more."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Callable

import pytest

from gateway.domain import ids
from gateway.domain.file import File
from gateway.domain.page import Page
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.ports.run_store import Fenced
from gateway.domain.ports.store import Store
from gateway.domain.queue import AdmissionRules
from gateway.domain.schedule import FirePlan, PlannedRun, Schedule, ScheduleSpec
from gateway.errors import Conflict, FileUnknown, ScheduleNotFound, StorageFull, Unavailable
from tests.contracts.stores import PAGE, START, Shelf, SteppedClock, claim_one, done, finish, key, spec


def staged_file(content: bytes = b"a", name: str = "a.txt", place: Callable[[], None] = lambda: None) -> StagedFile:
    """Return a file as the engine stages it; its content is on no disk."""
    file = File(
        id=ids.make_ulid(START),
        name=name,
        media_type="text/plain",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return StagedFile(file, place)


def schedule_with(*files: StagedFile, id_: str = "nightly") -> Schedule:
    told = ScheduleSpec(expression="0 3 * * *", input="look", attachments=tuple(one.file for one in files))
    return Schedule(id=id_, spec=told, anchor=START, next_at=START + 1000, created=START, updated=START)


async def uses(store: Store, staged: StagedFile) -> int:
    return (await store.files.get(staged.file.id)).uses


# --- storing ----------------------------------------------------------------------------------


async def test_a_stored_file_is_read_back_as_it_was_staged_by_its_id_and_by_a_part_of_it(store: Store) -> None:
    staged = staged_file()
    assert await store.files.add(staged) == staged.file

    found = await store.files.get(staged.file.id)

    assert (found.file, found.uses, found.created) == (staged.file, 0, START)
    assert (await store.files.get(staged.file.id[-6:])).file == staged.file


async def test_a_file_that_is_not_there_and_a_part_that_fits_two_are_refused(store: Store) -> None:
    for _ in range(2):
        await store.files.add(staged_file())

    for part in ("0" * 26, ids.make_ulid(START)[:6], "", "%", "'"):
        with pytest.raises(FileUnknown):
            await store.files.get(part)


async def test_files_are_listed_newest_first_in_pages(store: Store) -> None:
    stored = [await store.files.add(staged_file(bytes([number]))) for number in range(5)]

    first = await store.files.list(Page(limit=2))
    rest = await store.files.list(Page(limit=10, before=first[-1].seq))

    assert [one.file for one in [*first, *rest]] == stored[::-1]


async def test_equal_contents_count_once_however_many_files_have_them(store: Store) -> None:
    for number in range(1000):
        await store.files.add(staged_file(b"12345", f"{number}.txt"))

    assert await store.files.count_bytes() == 5
    assert len(await store.files.list(PAGE)) == 1000


async def test_a_repeated_upload_is_the_earlier_file_and_another_one_under_its_key_is_refused(store: Store) -> None:
    first = await store.files.add(staged_file(), key("k", "digest"))
    again = await store.files.add(staged_file(), key("k", "digest"))

    assert again == first
    with pytest.raises(Conflict):
        await store.files.add(staged_file(b"other"), key("k", "another digest"))
    assert [one.file for one in await store.files.list(PAGE)] == [first]


async def test_files_beyond_the_quota_are_refused_and_nothing_of_them_is_stored(shelf: Shelf) -> None:
    store = shelf.open(file_quota=10)
    await store.files.add(staged_file(b"1234567"))
    both = [staged_file(b"89"), staged_file(b"012")]

    with pytest.raises(StorageFull, match=r"files\.quota"):
        await store.files.add(staged_file(b"8901"))
    with pytest.raises(StorageFull):
        await store.runs.accept(spec(attachments=tuple(one.file for one in both)), staged=both)

    assert (await store.runs.count_totals(0)).queued == 0
    assert (await store.files.count_bytes(), len(await store.files.list(PAGE))) == (7, 1)
    await store.files.add(staged_file(b"1234567", "equal.txt"))
    await store.files.add(staged_file(b"890"))


async def test_what_an_agent_made_is_stored_beyond_the_quota_because_its_run_must_end(shelf: Shelf) -> None:
    store = shelf.open(file_quota=2)
    await store.runs.accept(spec())
    run = await claim_one(store)
    made = staged_file(b"longer than that")

    ended = await store.runs.finish(run.id, run.epoch, done(files=(made.file,)), [], [made])

    assert ended.files == (made.file,)
    assert await store.files.count_bytes() == made.file.size


async def test_a_disk_that_refuses_a_content_refuses_its_run_and_no_other_one(store: Store) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    refused = staged_file(place=refuse)
    accepting = [store.runs.accept(spec(f"main:test:{number}")) for number in range(5)]
    answers = await asyncio.gather(
        *accepting[:2],
        store.runs.accept(spec("main:test:file", attachments=(refused.file,)), staged=[refused]),
        *accepting[2:],
        return_exceptions=True,
    )

    assert [isinstance(answer, StorageFull) for answer in answers] == [False, False, True, False, False, False]
    assert (await store.runs.count_totals(0)).queued == 5
    assert await store.files.list(PAGE) == []


async def test_a_disk_with_another_trouble_makes_the_gateway_unavailable(store: Store) -> None:
    def refuse() -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(Unavailable, match="Input/output error"):
        await store.files.add(staged_file(place=refuse))


# --- what refers to files ---------------------------------------------------------------------


async def test_a_run_is_accepted_with_its_new_and_its_stored_files_and_keeps_them(shelf: Shelf) -> None:
    first = shelf.open()
    old, new = staged_file(b"old"), staged_file(b"new")
    await first.files.add(old)
    accepted = await first.runs.accept(spec(attachments=(new.file, old.file)), staged=[new])
    await first.close()

    store = shelf.open()

    assert (await store.runs.get(accepted.run.id)).spec.attachments == (new.file, old.file)
    for one in (old, new):
        assert await uses(store, one) == 1
        with pytest.raises(Conflict, match="refer"):
            await store.files.delete(one.file.id)


async def test_a_run_with_a_file_that_was_deleted_is_refused(store: Store) -> None:
    gone = await store.files.add(staged_file())
    await store.files.delete(gone.id)

    with pytest.raises(FileUnknown, match=gone.id):
        await store.runs.accept(spec(attachments=(gone,)))
    assert (await store.runs.count_totals(0)).queued == 0


async def test_a_repeated_request_with_files_is_the_earlier_run_and_stores_nothing_again(store: Store) -> None:
    first, again = staged_file(b"same"), staged_file(b"same")
    accepted = await store.runs.accept(spec(attachments=(first.file,)), key("k"), staged=[first])
    repeated = await store.runs.accept(spec(attachments=(again.file,)), key("k"), staged=[again])

    assert repeated.run == accepted.run
    assert [one.file for one in await store.files.list(PAGE)] == [first.file]


async def test_an_ended_run_and_its_messages_refer_to_what_came_and_what_was_made(store: Store) -> None:
    came, made = staged_file(b"came"), staged_file(b"made")
    await store.runs.accept(spec(attachments=(came.file,)), staged=[came])
    run = await claim_one(store)
    await store.runs.finish(run.id, run.epoch, done(files=(made.file,)), [], [made])

    history = await store.sessions.read_history(run.spec.session, 10)

    assert [message.files for message in history] == [(came.file,), (made.file,)]
    assert [await uses(store, one) for one in (came, made)] == [2, 2]


async def test_an_attempt_that_is_no_longer_the_runs_stores_no_files(store: Store) -> None:
    await store.runs.accept(spec())
    run = await claim_one(store)
    made = staged_file(b"made")

    with pytest.raises(Fenced):
        await store.runs.finish(run.id, run.epoch - 1, done(files=(made.file,)), [], [made])

    assert await store.files.list(PAGE) == []


async def test_a_deleted_session_lets_go_of_its_messages_files_but_not_of_those_of_its_runs(store: Store) -> None:
    came = staged_file()
    await store.runs.accept(spec(attachments=(came.file,)), staged=[came])
    run = await finish(store, await claim_one(store))
    await store.sessions.delete(run.spec.session, force=False)

    assert await uses(store, came) == 1
    with pytest.raises(Conflict):
        await store.files.delete(came.file.id)


async def test_a_schedule_refers_to_its_files_until_it_is_edited_or_deleted(store: Store) -> None:
    first, second = staged_file(b"1"), staged_file(b"2")
    made = await store.schedules.create(schedule_with(first), staged=[first])
    assert made.spec.attachments == (first.file,)
    assert await uses(store, first) == 1

    other = schedule_with(second)
    edited = await store.schedules.replace(other, [second])
    assert edited is not None
    assert [await uses(store, one) for one in (first, second)] == [0, 1]

    await store.schedules.delete("nightly")
    assert [await uses(store, one) for one in (first, second)] == [0, 0]
    with pytest.raises(ScheduleNotFound):
        await store.schedules.get("nightly")


async def test_an_edit_that_came_second_stores_no_files_and_lets_go_of_none(store: Store) -> None:
    first, second = staged_file(b"1"), staged_file(b"2")
    made = await store.schedules.create(schedule_with(first), staged=[first])
    await store.schedules.replace(made)

    assert await store.schedules.replace(schedule_with(second), [second]) is None

    assert await uses(store, first) == 1
    assert [one.file for one in await store.files.list(PAGE)] == [first.file]


async def test_a_schedule_with_a_file_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(FileUnknown):
        await store.schedules.create(schedule_with(staged_file()))
    with pytest.raises(ScheduleNotFound):
        await store.schedules.get("nightly")


# --- deleting ---------------------------------------------------------------------------------


async def test_a_content_is_nobodys_when_the_last_file_that_has_it_is_deleted(store: Store) -> None:
    first, second = await store.files.add(staged_file()), await store.files.add(staged_file())

    assert await store.files.delete(first.id) == first.sha256
    assert await store.files.find_unowned([first.sha256]) == []
    await store.files.delete(second.id)

    assert await store.files.find_unowned([first.sha256, first.sha256, "0" * 64]) == [first.sha256, "0" * 64]
    assert await store.files.count_bytes() == 0
    with pytest.raises(FileUnknown):
        await store.files.delete(second.id)


async def test_only_contents_that_no_file_has_are_removed(store: Store) -> None:
    kept = await store.files.add(staged_file())
    removed: list[str] = []

    assert await store.files.remove_unowned([kept.sha256, "0" * 64], removed.append) == 1

    assert removed == ["0" * 64]


async def test_unused_files_are_pruned_when_they_are_old_enough(store: Store, clock: SteppedClock) -> None:
    unused, used = staged_file(b"unused"), staged_file(b"used")
    await store.files.add(unused)
    await store.runs.accept(spec(attachments=(used.file,)), staged=[used])
    assert await store.files.prune(START) == []

    clock.forward(10)
    young = await store.files.add(staged_file(b"young"))

    assert await store.files.prune(START + 1) == [unused.file.sha256]
    assert await store.files.prune(START + 1) == []
    assert {one.file for one in await store.files.list(PAGE)} == {used.file, young}


# --- runs that wait, and those that stand for others ------------------------------------------


async def test_an_edited_message_keeps_its_files(store: Store) -> None:
    came = staged_file()
    accepted = await store.runs.accept(spec(attachments=(came.file,)), staged=[came])

    assert await store.runs.change_input(accepted.run.id, "edited")

    found = await store.runs.get(accepted.run.id)
    assert (found.spec.input, found.spec.attachments) == ("edited", (came.file,))


async def test_a_message_with_files_is_never_taken_for_one_that_waits_already(store: Store) -> None:
    coalesce = AdmissionRules(slots=1, stored=False, coalesce=True)
    came = staged_file()
    await store.runs.accept(spec())
    with_files = await store.runs.accept(spec(attachments=(came.file,)), None, coalesce, [came])
    assert with_files.is_new

    other = spec("main:test:other", attachments=(came.file,))
    await store.runs.accept(other)
    assert (await store.runs.accept(spec("main:test:other"), None, coalesce)).is_new
    assert not (await store.runs.accept(spec("main:test:other"), None, coalesce)).is_new


async def test_a_fire_whose_file_is_gone_is_refused_and_the_schedule_goes_on(store: Store) -> None:
    gone, there = staged_file(b"gone"), staged_file(b"there")
    made = await store.schedules.create(schedule_with(there), staged=[there])
    runs = tuple(
        PlannedRun(time=START + 1000 * (n + 1), spec=spec(f"main:cron:{n}", attachments=(one.file,)))
        for n, one in enumerate((gone, there))
    )

    started = await store.schedules.fire(FirePlan(schedule=made, runs=runs, next_at=START + 9000))

    fires = await store.schedules.list_fires(made.id, PAGE)
    assert [fire.outcome for fire in fires] == ["fired", "refused"]
    assert gone.file.id in (fires[1].error or "")
    assert [accepted.run.spec.attachments for accepted in started] == [(there.file,)]
    found = await store.schedules.get(made.id)
    assert (found.enabled, found.next_at) == (True, START + 9000)
