"""Every store keeps the contract: pruning removes old data in small steps, and keeps what is needed."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain import search
from gateway.domain.delivery import Delivery, DeliveryFilter, DeliveryStatus, Target
from gateway.domain.event import Text
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.ports.upkeep_store import Pruned
from gateway.domain.queue import GatewayCounts
from gateway.domain.run import Run
from gateway.domain.search import SearchQuery
from gateway.errors import RunNotFound
from gateway.store.sql import pieces, pruning
from tests.contracts.stores import ALL, PAGE, START, TRIED, SteppedClock, claim_one, finish, key, spec

DAY = 86_400_000


async def ended(store: Store, session: str = "main:test:a", text: str = "hello", **fields: object) -> Run:
    await store.runs.accept(spec(session, text, **fields))
    return await finish(store, await claim_one(store))


async def prune_all_events(store: Store, before: int | None = None, newest: int | None = None) -> int:
    """Prune until nothing is left to prune, and return the number of steps."""
    steps = 0
    while (await store.retention.prune_events(before, newest)).more:
        steps += 1
    return steps


async def prune_all_runs(store: Store, before: int) -> list[str]:
    gone: list[str] = []
    while (pruned := await store.retention.prune_runs(before)).more:
        gone += pruned.runs
    return gone


async def prune_all_sessions(store: Store, before: int) -> None:
    while (await store.retention.prune_sessions(before)).more:
        pass


async def numbers(store: Store, run: Run) -> list[int]:
    return [event.number for event in await store.events.read_after(run.id, 0, 10_000)]


async def listed(store: Store) -> list[str]:
    return [run.id for run in await store.runs.list(ALL, PAGE)]


# --- events -----------------------------------------------------------------------------------


async def test_old_events_are_pruned_but_the_last_one_and_the_run_stay(store: Store, clock: SteppedClock) -> None:
    old = await ended(store)
    clock.forward(DAY)
    new = await ended(store)
    await prune_all_events(store, before=START)

    assert await numbers(store, old) == [old.last_event]
    assert (await store.runs.get(old.id)).result == old.result
    assert await numbers(store, new) == list(range(1, new.last_event + 1))


async def test_events_of_the_newest_runs_are_kept(store: Store, clock: SteppedClock) -> None:
    runs = []
    for _ in range(5):
        runs.append(await ended(store))
        clock.forward(1)
    await prune_all_events(store, newest=2)

    assert [len(await numbers(store, run)) > 1 for run in runs] == [False, False, False, True, True]


async def test_events_of_an_unfinished_run_are_kept(store: Store, clock: SteppedClock) -> None:
    await store.runs.accept(spec())
    run = await claim_one(store)
    await store.events.append(run.id, run.epoch, [Text(delta="x")])
    clock.forward(100 * DAY)
    await prune_all_events(store, before=clock.now, newest=0)

    assert await numbers(store, run) == [1, 2, 3]


async def test_a_long_log_is_pruned_in_several_steps(
    store: Store, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", 0.0)
    await store.runs.accept(spec())
    run = await claim_one(store)
    last = await finish(store, run, said=[Text(delta="x")] * 120)
    first = await store.retention.prune_events(clock.now, None)
    left = len(await numbers(store, run))
    await prune_all_events(store, before=clock.now)

    assert first == Pruned(True)
    assert 1 < left < last.last_event
    assert await numbers(store, run) == [last.last_event]


async def test_the_step_that_empties_a_log_names_its_run(store: Store, clock: SteppedClock) -> None:
    run = await ended(store)

    assert await store.retention.prune_events(clock.now, None) == Pruned(True, (run.id,))
    assert await store.retention.prune_events(clock.now, None) == Pruned(False)


# --- runs -------------------------------------------------------------------------------------


async def test_old_runs_are_pruned_and_their_transcripts_stay(store: Store, clock: SteppedClock) -> None:
    old = await ended(store, labels={"a": "b"})
    clock.forward(DAY)
    new = await ended(store)
    gone = await prune_all_runs(store, START)

    assert (gone, await listed(store)) == ([old.id], [new.id])
    with pytest.raises(RunNotFound):
        await store.runs.get(old.id)
    assert len(await store.sessions.read_history("main:test:a", 10)) == 4


async def test_the_newest_run_stays(store: Store, clock: SteppedClock) -> None:
    """The next run's number continues from it; by that, a session that was created again recognises its own runs."""
    only = await ended(store)
    clock.forward(DAY)

    assert (await prune_all_runs(store, clock.now), await listed(store)) == ([], [only.id])


async def test_runs_that_have_not_ended_stay(store: Store, clock: SteppedClock) -> None:
    await store.runs.accept(spec("main:test:a"))
    running = await claim_one(store)
    waiting = (await store.runs.accept(spec("main:test:a"))).run
    held = (await store.runs.accept(spec("main:test:b", held=True))).run
    clock.forward(100 * DAY)
    await ended(store, "main:test:c")

    assert await prune_all_runs(store, clock.now - 1) == []
    assert {running.id, waiting.id, held.id} <= set(await listed(store))


async def test_a_run_whose_delivery_has_not_arrived_stays(store: Store, clock: SteppedClock) -> None:
    told = await ended(store, deliver=(Target(kind="webhook", address="http://127.0.0.1:1/"),))
    clock.forward(DAY)
    await ended(store)

    assert await prune_all_runs(store, START) == []
    assert told.id in await listed(store)


async def dead_letter(store: Store) -> Delivery:
    """End a run whose delivery fails, and return the dead delivery."""
    await ended(store, deliver=(Target(kind="webhook", address="http://127.0.0.1:1/"),))
    (delivery,) = await store.deliveries.take_due(10, 10)
    given_up = msgspec.structs.replace(delivery, status=DeliveryStatus.DEAD, finished=delivery.created)
    assert await store.deliveries.record_attempt(given_up, TRIED)
    return given_up


async def test_old_dead_letters_are_pruned_and_then_their_runs(store: Store, clock: SteppedClock) -> None:
    old = await dead_letter(store)
    clock.forward(DAY)
    new = await dead_letter(store)
    kept = await prune_all_runs(store, START)
    pruned = [(await store.retention.prune_dead_letters(START)).more for _ in range(2)]

    assert (kept, pruned) == ([], [True, False])
    assert await store.deliveries.list(DeliveryFilter(), PAGE) == [new]
    assert await prune_all_runs(store, START) == [old.run]


async def test_a_retried_dead_letter_stays(store: Store, clock: SteppedClock) -> None:
    delivery = await dead_letter(store)
    await store.deliveries.retry(delivery.id)
    clock.forward(DAY)

    assert not (await store.retention.prune_dead_letters(clock.now)).more
    assert (await store.deliveries.get(delivery.id)).status is DeliveryStatus.PENDING


@pytest.mark.parametrize("field", ["parent", "retry_of"])
async def test_the_run_that_an_unfinished_run_refers_to_stays(store: Store, clock: SteppedClock, field: str) -> None:
    origin = await ended(store)
    await store.runs.accept(spec("main:test:b", **{field: origin.id}))
    clock.forward(DAY)
    before = await prune_all_runs(store, START)
    await finish(store, await claim_one(store))
    await ended(store)
    after = await prune_all_runs(store, START)

    assert (before, after) == ([], [origin.id])


async def test_the_counts_are_right_after_pruning(store: Store, clock: SteppedClock) -> None:
    await ended(store)
    clock.forward(DAY)
    await ended(store)
    await prune_all_runs(store, START)
    found: GatewayCounts = await store.runs.count_totals(0)

    assert (found.queued, found.running, dict(found.ended)["succeeded"]) == (0, 0, 1)


async def test_a_recent_idempotency_key_still_finds_its_run(store: Store, clock: SteppedClock) -> None:
    accepted = await store.runs.accept(spec(), key())
    await finish(store, await claim_one(store))
    clock.forward(DAY - 1)
    await ended(store, "main:test:b")
    await prune_all_runs(store, clock.now - DAY)

    assert (await store.runs.accept(spec(), key())).run.id == accepted.run.id


# --- sessions ---------------------------------------------------------------------------------


async def test_unused_sessions_are_pruned_with_their_transcripts(store: Store, clock: SteppedClock) -> None:
    await ended(store, "main:test:old", "fox")
    clock.forward(DAY)
    await ended(store, "main:test:new", "fox")
    await prune_all_sessions(store, START)

    assert [session.key for session in await store.sessions.list(PAGE)] == ["main:test:new"]
    assert await store.sessions.read_history("main:test:old", 10) == []
    found = await store.sessions.search(SearchQuery(terms=search.parse_terms("fox")), Page())
    assert {one.session for one in found} == {"main:test:new"}
    assert (await store.events.read_changes_after(0, 1000))[-1].state == "deleted"


async def test_sessions_with_unfinished_runs_stay(store: Store, clock: SteppedClock) -> None:
    await store.runs.accept(spec("main:test:a"))
    await store.runs.accept(spec("main:test:b", held=True))
    clock.forward(DAY)
    await prune_all_sessions(store, START)

    assert len(await store.sessions.list(PAGE)) == 2


async def test_a_long_session_is_pruned_in_several_steps(
    store: Store, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "MAX_PIECE_SECONDS", 0.0)
    for _ in range(60):
        await ended(store)
    clock.forward(DAY)
    first = await store.retention.prune_sessions(START)
    left = len(await store.sessions.read_history("main:test:a", 10_000))
    await prune_all_sessions(store, START)

    assert first.more
    assert 0 < left < 120
    assert await store.sessions.list(PAGE) == []


async def test_what_cannot_be_deleted_is_not_looked_for_again_at_once(
    store: Store, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "find_old_runs", lambda reader, before: [1])  # as a reader would say from the past

    assert not (await store.retention.prune_runs(clock.now)).more
