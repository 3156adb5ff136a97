"""The tally of ended runs counts what the runs themselves say, also when minutes became hours and runs are gone."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.domain.run import Status
from gateway.domain.times import HOUR_MILLISECONDS, MINUTE_MILLISECONDS
from gateway.store.sql import end_counts, pieces
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import START, SteppedClock, claim_one, finish, spec
from tests.store.test_search_migration import made_before

DAY = 24 * HOUR_MILLISECONDS
ENDS = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


_numbers = itertools.count(1)


def insert_ended(tx: Transaction, status: Status, finished: int) -> None:
    number = next(_numbers)
    tx.execute(
        "INSERT INTO runs (id, agent, session, source, spec, status, priority, created, finished)"
        " VALUES (?, 'main', ?, 'task', '{}', ?, 0, 0, ?)",
        (str(number), f"main:x:{number}", status, finished),
    )
    end_counts.count_end(tx, status, finished)


async def insert_some(store: SqliteStore, times: list[int]) -> None:
    def insert(tx: Transaction) -> None:
        for number, finished in enumerate(times):
            insert_ended(tx, ENDS[number % 3], finished)

    await store._database.write(insert)


async def check_counts(store: SqliteStore, moments: list[int]) -> None:
    """Compare the tally with the runs, from some moments on."""

    def read(reader: Reader) -> list[tuple[str, int]]:
        rows: Any = reader.execute("SELECT status, finished FROM runs WHERE finished IS NOT NULL").fetchall()
        return list(rows)

    ended = await store._database.read(read)
    for since in moments:
        expected = Counter(status for status, finished in ended if finished >= since)
        found = (await store.runs.count_totals(since)).ended
        assert found == {status: expected[status] for status in sorted(ENDS)}, since


async def row_spans(store: SqliteStore) -> list[int]:
    def read(reader: Reader) -> list[int]:
        rows: Any = reader.execute("SELECT ends - begins FROM end_counts ORDER BY begins").fetchall()
        return [span for (span,) in rows]

    return await store._database.read(read)


async def test_runs_are_counted_from_any_moment_on(store: SqliteStore, clock: SteppedClock) -> None:
    dice = random.Random(16)
    times = [START - dice.randrange(3 * DAY) for _ in range(400)]
    await insert_some(store, times)
    edges = [time // MINUTE_MILLISECONDS * MINUTE_MILLISECONDS for time in times[:20]]
    moments = [0, START, START - DAY, *times[:40], *(time + 1 for time in times[:20]), *edges]

    await check_counts(store, moments)
    await store.retention.prune_expired()
    await check_counts(store, moments)
    assert HOUR_MILLISECONDS in await row_spans(store)
    await insert_some(store, [time + 7 * MINUTE_MILLISECONDS for time in times])  # some end in hours of the past
    await check_counts(store, moments)
    await store.retention.prune_expired()
    await check_counts(store, moments)


async def test_deleted_runs_are_no_longer_counted(store: SqliteStore, clock: SteppedClock) -> None:
    times = [START - 3 * DAY, START - 3 * DAY + MINUTE_MILLISECONDS, START - 5, START]
    await insert_some(store, times)
    await store.retention.prune_expired()
    await store._database.write(lambda tx: tx.execute("DELETE FROM runs WHERE seq IN (2, 3)").fetchall())

    await check_counts(store, [0, START - 2 * DAY, START])
    assert (await store.runs.count_totals(0)).ended == {"succeeded": 2, "failed": 0, "cancelled": 0}


async def test_minutes_become_hours_after_two_days_and_piece_by_piece(
    store: SqliteStore, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = START // HOUR_MILLISECONDS * HOUR_MILLISECONDS
    await insert_some(store, [begin + minute * MINUTE_MILLISECONDS for minute in range(0, 180, 3)])
    clock.now = begin + 2 * DAY + 2 * HOUR_MILLISECONDS
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", 0.0)
    spans = [Counter(await row_spans(store))]
    more = True
    while more:
        more = await store._database.write(end_counts.merge_minutes)
        spans.append(Counter(await row_spans(store)))
        await check_counts(store, [begin + 59 * MINUTE_MILLISECONDS, begin + 100 * MINUTE_MILLISECONDS + 1])

    minutes = [found[MINUTE_MILLISECONDS] for found in spans]
    assert minutes == [60, 40, 20, 20], "the third hour is not old enough"
    assert spans[-1][HOUR_MILLISECONDS] == 6, "three statuses of two hours"


async def test_the_end_of_a_run_is_counted_with_its_move(store: SqliteStore, clock: SteppedClock) -> None:
    await store.runs.accept(spec())
    clock.forward(5 * MINUTE_MILLISECONDS)
    await finish(store, await claim_one(store))
    cancelled = await store.runs.accept(spec())
    await store.runs.cancel(cancelled.run.id)

    assert (await store.runs.count_totals(clock.now)).ended == {"succeeded": 1, "failed": 0, "cancelled": 1}
    await check_counts(store, [0, clock.now + 1])


async def test_runs_that_ended_before_there_was_a_tally_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "moongate.db"
    await made_before("_many_runs", path, monkeypatch)
    dice = random.Random(26)
    times = [START, *(START - dice.randrange(4 * DAY) for _ in range(200))]
    connection = apsw.Connection(str(path))
    for number, finished in enumerate([*times, None]):
        connection.execute(
            "INSERT INTO runs (id, agent, session, source, spec, status, priority, created, finished)"
            " VALUES (?, 'main', ?, 'task', '{}', ?, 0, 0, ?)",
            (str(number), f"main:x:{number}", "queued" if finished is None else ENDS[number % 3], finished),
        )
    connection.close()

    store = SqliteStore(path, clock=SteppedClock())
    await check_counts(store, [0, START, START - DAY, *times[:50], *(time + 1 for time in times[:50])])
    spans = set(await row_spans(store))
    await store.close()

    assert spans == {MINUTE_MILLISECONDS, HOUR_MILLISECONDS}
