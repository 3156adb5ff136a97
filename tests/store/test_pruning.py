"""What has changed between the search for old rows and their deletion stays, and so do the neighbours."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.delivery import Delivery, DeliveryCounts, DeliveryStatus, Target
from gateway.domain.run import Run, Source, Status
from gateway.store.sql import pruning
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import PAGE, START, TRIED, SteppedClock, claim_one, finish, spec

HOOK = Target(kind="webhook", address="http://127.0.0.1:1/")


async def ended(store: SqliteStore, session: str = "main:test:a", **fields: object) -> Run:
    await store.runs.accept(spec(session, **fields))
    return await finish(store, await claim_one(store))


async def dead_letter(store: SqliteStore) -> Delivery:
    await ended(store, deliver=(HOOK,))
    (delivery,) = await store.deliveries.take_due(10, 10)
    return await give_up(store, delivery)


async def give_up(store: SqliteStore, delivery: Delivery) -> Delivery:
    given_up = msgspec.structs.replace(delivery, status=DeliveryStatus.DEAD, finished=store._database._clock())
    assert await store.deliveries.record_attempt(given_up, TRIED)
    return given_up


async def kept_sessions(store: SqliteStore) -> set[str]:
    return {session.key for session in await store.sessions.list(PAGE)}


# --- events -----------------------------------------------------------------------------------


async def test_a_log_that_was_not_emptied_is_found_again(store: SqliteStore, clock: SteppedClock) -> None:
    old = await ended(store)
    clock.forward(1)
    new = await ended(store)
    steps = [await store.retention.prune_events(START, None) for _ in range(2)]
    later = [await store.retention.prune_events(START + 1, None) for _ in range(2)]

    assert [step.runs for step in steps] == [(old.id,), ()]
    assert [step.runs for step in later] == [(new.id,), ()]


# --- runs -------------------------------------------------------------------------------------


async def test_a_run_that_has_something_to_deliver_is_not_deleted(store: SqliteStore) -> None:
    told, other = await ended(store, deliver=(HOOK,)), await ended(store)

    gone = await store._database.write(lambda tx: pruning.delete_runs(tx, [told.seq, other.seq]))

    assert gone == [other.id]
    assert (await store.runs.get(told.id)).id == told.id


async def test_a_deleted_run_is_no_longer_counted(store: SqliteStore, clock: SteppedClock) -> None:
    for source in (Source.BACKGROUND, Source.TASK):
        await store.runs.accept(msgspec.structs.replace(spec(), source=source))
        await finish(store, await claim_one(store))
        clock.forward(1)
    await store.retention.prune_runs(START)

    counted = await store._database.read(lambda reader: dict(reader.execute("SELECT status, n FROM tally").fetchall()))

    assert (counted[f"{Source.BACKGROUND} {Status.SUCCEEDED}"], counted[Status.SUCCEEDED]) == (0, 1)


# --- dead letters -----------------------------------------------------------------------------


async def test_a_dead_letter_that_was_retried_is_not_deleted(store: SqliteStore) -> None:
    retried, other = await dead_letter(store), await dead_letter(store)
    await store.deliveries.retry(retried.id)

    await store._database.write(lambda tx: pruning.delete_dead_letters(tx, [retried.seq, other.seq], START))

    assert await store.deliveries.count_undelivered() == DeliveryCounts(pending=1, dead=0)


async def test_a_dead_letter_that_has_died_anew_is_not_deleted(store: SqliteStore, clock: SteppedClock) -> None:
    again, other = await dead_letter(store), await dead_letter(store)
    clock.forward(1)
    await store.deliveries.retry(again.id)
    (sending,) = await store.deliveries.take_due(10, 10)
    await give_up(store, sending)

    await store._database.write(lambda tx: pruning.delete_dead_letters(tx, [again.seq, other.seq], START))

    assert await store.deliveries.count_undelivered() == DeliveryCounts(pending=0, dead=1)


# --- sessions ---------------------------------------------------------------------------------


async def test_a_session_that_was_used_again_is_not_deleted(store: SqliteStore, clock: SteppedClock) -> None:
    await ended(store, "main:test:used")
    await ended(store, "main:test:unused")
    clock.forward(1)
    await ended(store, "main:test:used")

    keys = ["main:test:used", "main:test:unused"]
    await store._database.write(lambda tx: pruning.delete_sessions(tx, keys, START))

    assert await kept_sessions(store) == {"main:test:used"}
    assert len(await store.sessions.read_history("main:test:used", 10)) == 4


@pytest.mark.parametrize("held", [True, False])
async def test_a_session_that_has_a_new_run_is_not_deleted(store: SqliteStore, held: bool) -> None:
    await ended(store, "main:test:unused")
    await store.runs.accept(spec("main:test:busy", held=held))

    keys = ["main:test:busy", "main:test:unused"]
    await store._database.write(lambda tx: pruning.delete_sessions(tx, keys, START))

    assert await kept_sessions(store) == {"main:test:busy"}


async def test_busy_sessions_do_not_hide_unused_ones(
    store: SqliteStore, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "MAX_PRUNED_AT_ONCE", 1)
    await store.runs.accept(spec("main:test:busy"))
    await claim_one(store)
    await ended(store, "main:test:unused")
    clock.forward(1)

    assert (await store.retention.prune_sessions(START)).more
    assert await kept_sessions(store) == {"main:test:busy"}
