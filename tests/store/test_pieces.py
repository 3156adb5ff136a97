"""Housekeeping takes little time at once: who accepts or searches does not wait for it."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.domain.event import Text
from gateway.domain.page import Page
from gateway.domain.search import SearchQuery, SearchTerm
from gateway.store.sql import notes, pieces, pruning
from gateway.store.sql.pieces import ROWS_BETWEEN_LOOKS, Piece, delete_some
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sqlite.store import SqliteStore
from harness.waiting import PATIENCE
from tests.contracts.stores import SteppedClock, claim_one, done, finish, key, spec

DAY = 86_400_000


async def count(store: SqliteStore, table: str) -> int:
    def read(reader: Reader) -> Any:
        return reader.execute(f"SELECT count(*) FROM {table}").get

    return int(await store._database.read(read))


async def test_a_piece_goes_on_until_its_time_is_over(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [10.0, 10.0 + pieces.MAX_PIECE_SECONDS / 2, 10.0 + pieces.MAX_PIECE_SECONDS]

    def work(tx: Transaction) -> list[bool]:
        with monkeypatch.context() as patch:
            patch.setattr(pieces, "time", SimpleNamespace(monotonic=lambda: moments.pop(0)))
            piece = Piece(tx)
            return [piece.may_go_on() for _ in range(2)]

    assert await store._database.write(work) == [True, False]


async def test_a_piece_goes_on_until_it_has_changed_many_rows(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", PATIENCE)
    names = {str(number): "" for number in range(pieces.MAX_PIECE_ROWS - 1)}

    def work(tx: Transaction) -> list[bool]:
        piece, found = Piece(tx), []
        for more in (names, {"last": ""}):
            notes.save_notes(tx, "c", more)
            found.append(piece.may_go_on())
        return found

    assert await store._database.write(work) == [True, False]


@pytest.mark.parametrize(("seconds", "left"), [(PATIENCE, 0), (0.0, ROWS_BETWEEN_LOOKS + 1)])
async def test_rows_are_deleted_until_the_time_is_over(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, seconds: float, left: int
) -> None:
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", seconds)
    await store.notes.save("c", {str(number): "" for number in range(2 * ROWS_BETWEEN_LOOKS + 1)})
    delete = "DELETE FROM notes WHERE (scope, name) IN (SELECT scope, name FROM notes LIMIT :rows)"
    more = await store._database.write(lambda tx: delete_some(tx, delete, {}))

    assert (more, await count(store, "notes")) == (left > 0, left)


async def test_what_expires_together_is_deleted_in_several_transactions(
    store: SqliteStore, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", 0.0)
    for number in range(3 * ROWS_BETWEEN_LOOKS):
        await store.runs.accept(spec(), key(str(number)))
    clock.forward(DAY)
    left: list[int] = []

    async def watch(_: float) -> None:
        left.append(await count(store, "idempotency"))

    monkeypatch.setattr(asyncio, "sleep", watch)
    await store.retention.prune_expired()

    assert left == [2 * ROWS_BETWEEN_LOOKS, ROWS_BETWEEN_LOOKS, 0], "others can write after each piece"


@pytest.mark.parametrize("what", ["events", "runs", "sessions"])
async def test_pruning_deletes_one_after_the_other_until_its_time_is_over(
    store: SqliteStore, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    for number in range(4):
        await store.runs.accept(spec(f"main:test:{number}"))
        await finish(store, await claim_one(store), done())
    clock.forward(DAY)
    await store.runs.accept(spec("main:test:new"))
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", 0.0)
    of_events = "runs WHERE logged = 1"
    table = {"events": of_events, "runs": "runs", "sessions": "sessions"}[what]
    prune = {
        "events": lambda: store.retention.prune_events(clock.now - 1, None),
        "runs": lambda: store.retention.prune_runs(clock.now - 1),
        "sessions": lambda: store.retention.prune_sessions(clock.now - 1),
    }[what]
    left = [await count(store, table)]
    while (await prune()).more:
        left.append(await count(store, table))

    assert left == [5, 4, 3, 2, 1]


async def test_a_long_log_is_deleted_over_several_pieces(
    store: SqliteStore, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.runs.accept(spec())
    run = await claim_one(store)
    await store.events.append(run.id, run.epoch, [Text(delta="x")] * (2 * ROWS_BETWEEN_LOOKS))
    ended = await finish(store, run)
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", 0.0)
    steps = []
    while (pruned := await store.retention.prune_events(clock.now, None)).more:
        steps.append(pruned.runs)

    assert len(steps) > 2
    assert (steps[:-1], steps[-1]) == ([()] * (len(steps) - 1), (ended.id,))
    assert await count(store, "events") == 1


async def test_dead_letters_are_deleted_piece_by_piece(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def insert(tx: Transaction) -> None:
        for number in range(3):
            tx.execute(
                "INSERT INTO deliveries (id, run, kind, address, format, trusted, receiver, status, next_at, created,"
                " finished) VALUES (?1, 1, 'webhook', ?1, '', 0, '', 'dead', 0, 0, 0)",
                (str(number),),
            )

    await store.runs.accept(spec())
    await store._database.write(insert)
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", 0.0)
    await store._database.write(lambda tx: pruning.delete_dead_letters(tx, [1, 2, 3], 0))

    assert await count(store, "deliveries") == 2


async def test_a_search_does_not_wait_for_a_read_of_housekeeping(store: SqliteStore) -> None:
    searched = threading.Event()
    reading = asyncio.create_task(store._database.read_for_housekeeping(lambda reader: searched.wait(PATIENCE)))
    await store.sessions.search(SearchQuery(terms=(SearchTerm("a"),)), Page())
    searched.set()

    assert await reading, "it went on all the time"
