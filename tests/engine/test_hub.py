"""Live readers: each gets every line once and in order, wherever it starts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.event import Change, End, Event, Text
from gateway.domain.ports.store import Store
from gateway.domain.run import Run
from gateway.engine import hub as module
from gateway.engine.hub import MISSING_LINES_PAUSE_SECONDS, Hub, Reader
from gateway.errors import RunNotFound
from gateway.store.sql.store import SqlStore
from harness.waiting import PATIENCE, until
from tests.contracts.stores import claim_one, finish, running, spec
from tests.engine.stage import open_store

pytestmark = pytest.mark.both_stores


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = open_store(tmp_path)
    yield store
    await store.close()


@pytest.fixture
async def hub(store: SqlStore) -> Hub:
    return Hub(store)


async def read(hub: Hub, run: Run, after: int = 0, count: int = 1 << 30, pause: float = 0.0) -> list[Event]:
    """Read a run's events to the end, or at most `count` of them."""
    events: list[Event] = []
    async with asyncio.timeout(PATIENCE), aclosing(hub.follow_run(run.id, after)) as following:
        async for event in following:
            events.append(event)
            if len(events) == count:
                break
            await asyncio.sleep(pause)
    return events


async def talk(store: Store, run: Run, times: int) -> None:
    for number in range(times):
        await store.events.append(run.id, run.epoch, [Text(delta=f"{number} ")] * (number % 3 + 1))


async def test_a_reader_who_comes_late_has_it_all(store: SqlStore, hub: Hub) -> None:
    run = await running(store)
    await talk(store, run, 20)
    await finish(store, run)

    assert await read(hub, run) == list(await store.events.read_after(run.id, 0, 1000))


async def test_many_readers_miss_nothing_and_see_nothing_twice(store: SqlStore, hub: Hub) -> None:
    run = await running(store)
    readers = [asyncio.create_task(read(hub, run, after=n % 5, pause=n % 3 / 1000)) for n in range(20)]
    for _ in range(5):
        await talk(store, run, 10)
        readers += [asyncio.create_task(read(hub, run, after=n)) for n in (0, 7, 30)]
        await asyncio.sleep(0)
    await finish(store, run)

    whole = list(await store.events.read_after(run.id, 0, 1000))
    for events in await asyncio.gather(*readers):
        assert events == whole[events[0].number - 1 :]
        assert isinstance(events[-1].data, End)


async def test_a_slow_reader_is_served_from_the_store(
    store: SqlStore, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LINES_PER_READ", 3)
    run = await running(store)
    async with asyncio.timeout(PATIENCE), aclosing(hub.follow_run(run.id)) as following:
        seen = [await anext(following)]
        await talk(store, run, 100)  # far more than is kept in memory
        await finish(store, run)
        seen += [event async for event in following]

    assert seen == list(await store.events.read_after(run.id, 0, 1000))


async def test_a_reader_who_comes_back_goes_on_where_it_was(store: SqlStore, hub: Hub) -> None:
    run = await running(store)
    await talk(store, run, 5)
    first = await read(hub, run, count=4)
    later = asyncio.create_task(read(hub, run, after=first[-1].number))
    await talk(store, run, 5)
    await finish(store, run)

    assert [*first, *await later] == list(await store.events.read_after(run.id, 0, 1000))


async def test_nothing_comes_after_the_end(store: SqlStore, hub: Hub) -> None:
    run = await running(store)
    ended = await finish(store, run)

    assert await read(hub, run, after=ended.last_event) == []
    assert await read(hub, run, after=ended.last_event + 100) == []
    assert len(await read(hub, run, after=ended.last_event - 1)) == 1


async def test_a_reader_from_beyond_the_end_sees_what_comes(
    store: SqlStore, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await running(store)
    began, of_the_store = asyncio.Event(), store.events.read_after

    async def events(*args: Any) -> Sequence[Event]:
        began.set()
        return await of_the_store(*args)

    monkeypatch.setattr(store.events, "read_after", events)
    reading = asyncio.create_task(read(hub, run, after=10_000))
    await began.wait()  # it knows where the log ended: had the run ended by then, nothing would come
    await talk(store, run, 3)
    await finish(store, run)

    assert isinstance((await reading)[-1].data, End)


async def test_a_run_that_nobody_knows_cannot_be_followed(hub: Hub) -> None:
    with pytest.raises(RunNotFound):
        await anext(hub.follow_run("nobody"))


async def test_a_run_that_is_requeued_and_tried_again_has_one_log(store: SqlStore, hub: Hub) -> None:
    run = await running(store)
    reading = asyncio.create_task(read(hub, run))
    await talk(store, run, 3)
    await store.runs.requeue(run.id, run.epoch, "why")
    await finish(store, await claim_one(store))

    assert await reading == list(await store.events.read_after(run.id, 0, 100))


async def test_readers_leave_nothing_behind(store: SqlStore, hub: Hub) -> None:
    run = await running(store)
    await asyncio.gather(*(read(hub, run, count=2) for _ in range(10)))
    with hub.expect_end(run.id):
        pass

    assert (hub._runs, hub._ends) == ({}, {})


async def test_all_who_wait_for_an_end_are_told(store: SqlStore, hub: Hub) -> None:
    run = await running(store)
    with ExitStack() as stack:
        ends = [stack.enter_context(hub.expect_end(run.id)) for _ in range(5)]
        await finish(store, run)

        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*ends) == [await store.runs.get(run.id)] * 5


async def test_those_who_wait_for_an_end_can_be_told_to_read_the_run(store: SqlStore, hub: Hub) -> None:
    run = await running(store)
    with hub.expect_end(run.id) as end:
        hub.release_waiters()

        async with asyncio.timeout(PATIENCE):
            assert await end is None


# --- changes ----------------------------------------------------------------------------------


async def changes(hub: Hub, after: int, count: int) -> list[Change]:
    seen: list[Change] = []
    async with asyncio.timeout(PATIENCE), aclosing(await hub.follow_changes(after)) as following:
        async for change in following:
            seen.append(change)
            if len(seen) == count:
                break
    return seen


async def test_changes_are_followed_from_any_point_without_gap_or_repeat(store: SqlStore, hub: Hub) -> None:
    await asyncio.gather(*(store.runs.accept(spec(f"main:test:{n}")) for n in range(50)))
    readers = [asyncio.create_task(changes(hub, after, 160 - after)) for after in (0, 10, 99, 100)]
    for number in range(30):
        await store.runs.accept(spec(f"main:test:later-{number}"))

    whole = list(await store.events.read_changes_after(0, 1000))
    for seen in await asyncio.gather(*readers):
        assert seen == whole[seen[0].seq - 1 : 160]


async def test_a_follower_from_beyond_the_end_sees_what_comes(store: SqlStore, hub: Hub) -> None:
    await store.runs.accept(spec())
    reading = asyncio.create_task(changes(hub, 1 << 40, 1))
    await store.check_writable()
    while not reading.done():
        await store.runs.accept(spec())

    assert (await reading)[0].state == "queued"


async def test_a_reader_of_much_text_takes_a_part_at_a_time_and_misses_nothing(store: SqlStore, hub: Hub) -> None:
    """A reader that stalls must not hold megabytes in memory, neither stored ones nor those of the tail."""
    run = await running(store)
    await store.events.append(run.id, run.epoch, [Text(delta=str(number) * 60_000) for number in range(10)])
    parts = [len(await store.events.read_after(run.id, after, 256, module.MAX_HELD_CHARACTERS)) for after in (0, 3)]
    early = asyncio.create_task(read(hub, run))
    await asyncio.sleep(0)
    await store.events.append(run.id, run.epoch, [Text(delta=str(number) * 60_000) for number in range(10)])
    last = await finish(store, run)

    assert parts == [6, 4]
    assert [event.number for event in await early] == list(range(1, last.last_event + 1))
    tail = [Event(run=run.id, number=n, at=0, data=Text(delta="x" * 60_000)) for n in range(10)]
    assert len(module._take_first_lines(tail)) == 4
    assert len(await store.events.read_after(run.id, 3, 256, 10)) == 1


async def test_a_follower_misses_nothing_of_what_two_processes_write_in_turn(tmp_path: Path) -> None:
    """While one process drains, both write changes. Each is told at once only about its own."""
    ours, theirs = open_store(tmp_path), open_store(tmp_path)
    hub = Hub(ours)
    try:
        await ours.runs.accept(spec("main:test:ours"))
        async with asyncio.timeout(PATIENCE), aclosing(await hub.follow_changes(0)) as following:
            seen = [await anext(following)]
            for store, name in ((ours, "1"), (theirs, "2"), (ours, "3")):
                await store.runs.accept(spec(f"main:test:{name}"))
            whole = list(await ours.events.read_changes_after(0, 100))
            while seen[-1].seq < whole[-1].seq:
                seen.append(await anext(following))
    finally:
        await theirs.close()
        await ours.close()

    assert [change.seq for change in seen] == [change.seq for change in whole]


async def test_what_another_process_writes_while_a_reader_looks_is_not_missed(
    store: SqlStore, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = store.events.read_changes_after

    async def look_and_be_told(after: int, limit: int) -> object:
        found = await looked(after, limit)
        if not written.done():
            written.set_result(await theirs.runs.accept(spec()))
            await hub.announce_external_commits()
        return found

    theirs = open_store(tmp_path)
    written: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(store.events, "read_changes_after", look_and_be_told)
    try:
        (change,) = await changes(hub, 0, 1)
    finally:
        await theirs.close()

    assert change.seq == 1


# --- sinks ------------------------------------------------------------------------------------


class Bucket:
    """A sink that takes or refuses lines as a script says, over and over, and collects what its reader yields."""

    def __init__(self, script: str) -> None:
        self._script = itertools.cycle(script)
        #: whether each line was passed on, by its number in order of arrival
        self.seen: list[tuple[int, bool]] = []

    def offer_line(self, line: Change) -> bool:
        takes = next(self._script) == "y"
        if takes:
            self.seen.append((line.seq, True))
        return takes

    async def fill(self, changes: Reader[Change], last: int) -> None:
        """Read until a line with this number is there, without the need to be woken for it."""
        changes.attach_sink(self)
        reading = asyncio.create_task(self._read(changes))
        await until(lambda: self.seen and self.seen[-1][0] >= last, "the last line is there")
        reading.cancel()
        await asyncio.wait({reading})

    async def _read(self, changes: Reader[Change]) -> None:
        async for line in changes:
            self.seen.append((line.seq, False))
            await asyncio.sleep(line.seq % 3 / 1000)


async def test_a_line_goes_into_a_sink_without_its_reader_being_woken(store: SqlStore, hub: Hub) -> None:
    bucket = Bucket("y")
    filling = asyncio.create_task(bucket.fill(await hub.follow_changes(None), 10))
    await until(lambda: hub._changes._waiting, "the reader waits")
    for number in range(5):
        await store.runs.accept(spec(f"main:test:{number}"))
    await filling

    assert bucket.seen == [(number, True) for number in range(1, 11)]
    assert hub._changes._waiting == {}


@pytest.mark.parametrize("script", ["n", "ny", "yn", "yynnn", "yyyyyyyn"])
async def test_what_a_sink_refuses_is_read_in_its_place(store: SqlStore, hub: Hub, script: str) -> None:
    await asyncio.gather(*(store.runs.accept(spec(f"main:test:{number}")) for number in range(10)))
    bucket = Bucket(script)
    filling = asyncio.create_task(bucket.fill(await hub.follow_changes(5), 160))
    for number in range(70):
        await store.runs.accept(spec(f"main:test:later-{number}"))
        await asyncio.sleep(number % 4 / 1000)
    await filling

    assert [number for number, _ in bucket.seen] == list(range(6, 161))


async def test_a_sink_gets_in_order_what_two_processes_write_in_turn(tmp_path: Path) -> None:
    ours, theirs = open_store(tmp_path), open_store(tmp_path)
    hub, bucket = Hub(ours), Bucket("y")
    filling = asyncio.create_task(bucket.fill(await hub.follow_changes(None), 12))
    try:
        await until(lambda: hub._changes._waiting, "the reader waits")
        for number, store in enumerate((ours, theirs, theirs, ours, theirs, ours)):
            await store.runs.accept(spec(f"main:test:{number}"))
        await filling
    finally:
        await theirs.close()
        await ours.close()

    assert [number for number, _ in bucket.seen] == list(range(1, 13))
    assert {passed for _, passed in bucket.seen} == {True, False}


async def test_a_reader_whose_store_lacks_announced_lines_does_not_spin(
    store: SqlStore, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    seen, found = asyncio.Event(), store.events.read_changes_after

    async def read_from_the_past(after: int, limit: int) -> Sequence[Change]:
        nonlocal reads
        reads += 1
        if reads == 5:
            seen.set()
        return [] if reads <= 5 else await found(after, limit)

    monkeypatch.setattr(store.events, "read_changes_after", read_from_the_past)
    reader = await hub.follow_changes(None)
    hub._changes._latest = 1 << 40  # announced, and in no tail
    following = asyncio.create_task(anext(reader))
    began = asyncio.get_running_loop().time()
    await seen.wait()
    paused = asyncio.get_running_loop().time() - began
    following.cancel()

    assert paused >= 3 * MISSING_LINES_PAUSE_SECONDS


async def test_a_run_that_is_gone_does_not_keep_news_of_another_process_from_others(
    store: SqlStore, hub: Hub, tmp_path: Path
) -> None:
    run = await running(store)
    theirs = open_store(tmp_path)
    with hub.expect_end("01AAAAAAAAAAAAAAAAAAAAAAAA") as gone, hub.expect_end(run.id) as end:
        await finish(theirs, run)
        await theirs.close()
        await hub.announce_external_commits()

        assert (gone.result(), end.result()) == (None, None)
