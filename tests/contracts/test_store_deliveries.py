"""Every store keeps the contract: deliveries, from the end of a run to their own end."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.address_policy import WebhookUse
from gateway.domain.delivery import (
    MAX_KEPT_ATTEMPTS,
    MAX_RETRY_DELAY_SECONDS,
    RETRY_JITTER_SHARE,
    Delivery,
    DeliveryAttempt,
    DeliveryFilter,
    DeliveryStatus,
    Target,
)
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.run import AttemptResult, Move, OnInterrupt, Outcome, Run
from gateway.domain.schedule import Schedule, ScheduleSpec
from gateway.errors import Conflict, DeliveryNotFound
from tests.contracts.stores import PAGE, START, TRIED, Shelf, SteppedClock, Told, claim_one, finish, key, running, spec

HOOK = Target(kind="webhook", address="https://one.example/hook")
OTHER = Target(kind="webhook", address="https://two.example/hook", format="xitto", trusted=True)
ANY = DeliveryFilter()


async def ended(store: Store, *targets: Target, session: str = "main:test:a") -> Run:
    return await finish(store, await running(store, session=session, deliver=targets or (HOOK,)))


async def all_of(store: Store) -> list[Delivery]:
    return list(await store.deliveries.list(ANY, PAGE))


async def recorded(store: Store, delivery: Delivery, status: DeliveryStatus, **fields: object) -> bool:
    return await store.deliveries.record_attempt(msgspec.structs.replace(delivery, status=status, **fields), TRIED)


async def test_the_end_of_a_run_makes_a_delivery_for_each_target(store: Store) -> None:
    run = await ended(store, HOOK, OTHER, HOOK)

    found = await all_of(store)

    assert [delivery.target for delivery in found] == [OTHER, HOOK]
    assert {(delivery.run, delivery.status, delivery.attempt, delivery.next_at) for delivery in found} == {
        (run.id, DeliveryStatus.PENDING, 0, START)
    }


async def test_a_run_that_continues_makes_no_delivery(store: Store) -> None:
    run = await running(store, deliver=(HOOK,))
    await store.runs.requeue(run.id, run.epoch, "why")

    assert await all_of(store) == []


async def test_a_run_cancelled_while_it_waits_makes_a_delivery(store: Store) -> None:
    run = (await store.runs.accept(spec(deliver=(HOOK,)))).run
    await store.runs.cancel(run.id)

    assert len(await all_of(store)) == 1


async def test_a_run_that_a_rescue_fails_makes_a_delivery(store: Store) -> None:
    await store.runs.accept(spec(deliver=(HOOK,), on_interrupt=OnInterrupt.FAIL))
    await claim_one(store, "gone")
    await store.owners.rescue_runs("gone")

    assert len(await all_of(store)) == 1


async def test_a_run_that_fails_when_requeued_makes_a_delivery(store: Store) -> None:
    run = await running(store, deliver=(HOOK,), on_interrupt=OnInterrupt.FAIL)
    await store.runs.requeue(run.id, run.epoch, "why")

    assert len(await all_of(store)) == 1


async def test_a_failed_run_makes_a_delivery(store: Store) -> None:
    run = await running(store, deliver=(HOOK,))
    await finish(store, run, AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="no"))

    assert len(await all_of(store)) == 1


async def test_a_run_whose_session_is_deleted_makes_a_delivery(store: Store) -> None:
    run = (await store.runs.accept(spec(deliver=(HOOK,)))).run
    await store.sessions.delete(run.spec.session, force=True)

    assert len(await all_of(store)) == 1


async def test_pending_deliveries_survive_reopening_the_store(shelf: Shelf) -> None:
    first = shelf.open()
    await ended(first, OTHER)
    before = await all_of(first)
    await first.close()

    assert await all_of(shelf.open()) == before


async def test_a_due_delivery_is_taken_once(store: Store) -> None:
    await ended(store)

    (taken,) = await store.deliveries.take_due(10, 1)

    assert (taken.status, taken.attempt) == (DeliveryStatus.SENDING, 1)
    assert await store.deliveries.take_due(10, 1) == []


async def test_a_delivery_that_is_not_due_waits(store: Store, clock: SteppedClock) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await recorded(store, taken, DeliveryStatus.PENDING, next_at=START + 5000)

    assert await store.deliveries.take_due(10, 1) == []
    assert await store.deliveries.next_due_at(START) == START + 5000
    clock.forward(5000)
    (again,) = await store.deliveries.take_due(10, 1)

    assert (again.id, again.attempt) == (taken.id, 2)


async def test_a_waiting_delivery_is_due_when_the_clock_is_set_back_by_years(store: Store, clock: SteppedClock) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await recorded(store, taken, DeliveryStatus.PENDING, next_at=START + 5000)
    clock.forward(-10 * 365 * 86_400_000)

    (again,) = await store.deliveries.take_due(10, 1)

    assert again.id == taken.id


async def test_the_longest_possible_wait_is_kept(store: Store) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await recorded(
        store,
        taken,
        DeliveryStatus.PENDING,
        next_at=START + round(MAX_RETRY_DELAY_SECONDS * (1 + RETRY_JITTER_SHARE) * 1000),
    )

    assert await store.deliveries.take_due(10, 1) == []


async def test_the_next_due_time_leaves_out_deliveries_that_are_due_already(store: Store) -> None:
    await ended(store)

    assert await store.deliveries.next_due_at(START) is None


async def test_a_receiver_gets_a_limited_number_at_a_time_and_others_do_not_wait(store: Store) -> None:
    for number in range(5):
        await ended(store, HOOK, session=f"main:test:{number}")
    await ended(store, OTHER)

    first = await store.deliveries.take_due(10, 2)
    await recorded(store, first[0], DeliveryStatus.DELIVERED)
    second = await store.deliveries.take_due(10, 2)

    assert sorted(delivery.target.address for delivery in first) == [HOOK.address, HOOK.address, OTHER.address]
    assert [delivery.target for delivery in second] == [HOOK]


async def test_a_chat_gets_one_delivery_at_a_time(store: Store) -> None:
    for number in range(3):
        await ended(store, Target(kind="telegram", address="1"), session=f"main:test:{number}")

    first = await store.deliveries.take_due(10, 2)

    assert len(first) == 1
    assert await store.deliveries.take_due(10, 2) == []


async def test_no_more_deliveries_are_taken_than_asked_for_and_the_oldest_go_first(
    store: Store, clock: SteppedClock
) -> None:
    targets = [Target(kind="webhook", address=f"https://{name}.example/") for name in "cab"]
    for target in targets:
        await ended(store, target)
        clock.forward(1)

    taken = await store.deliveries.take_due(2, 2)

    assert [delivery.target for delivery in taken] == targets[:2]


async def test_an_outdated_attempt_to_deliver_writes_nothing(store: Store) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await store.deliveries.release_in_flight()
    (again,) = await store.deliveries.take_due(10, 1)

    assert not await recorded(store, taken, DeliveryStatus.DEAD)
    assert (await store.deliveries.get(taken.id)) == again


async def test_a_delivery_whose_process_ended_while_sending_is_due_immediately(store: Store) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)

    assert await store.deliveries.release_in_flight() == 1

    (again,) = await store.deliveries.take_due(10, 1)
    assert (again.id, again.attempt) == (taken.id, 2)


async def test_an_attempt_that_the_settings_refused_is_due_again_at_a_start_and_does_not_count(store: Store) -> None:
    refused = Target(kind="webhook", address="http://127.0.0.1/hook")
    await ended(store, HOOK, refused)
    for delivery in await store.deliveries.take_due(10, 4):
        error = "refused: why" if delivery.target == refused else "answered 503"
        await recorded(store, delivery, DeliveryStatus.PENDING, next_at=START + 60_000, error=error)

    assert await store.deliveries.take_due(10, 4) == []
    await store.deliveries.release_in_flight()
    assert [(one.target, one.attempt) for one in await store.deliveries.take_due(10, 4)] == [(refused, 1)]


async def test_webhooks_of_schedules_and_receivers_of_waiting_deliveries_are_in_use(store: Store) -> None:
    chat = Target(kind="telegram", address="1")
    wake = ScheduleSpec(expression="every 1h", input="wake", name="nightly", deliver=(chat, HOOK))
    for number, (spec_, enabled) in enumerate(
        [(wake, True), (wake, False), (msgspec.structs.replace(wake, deliver=(OTHER,)), True)]
    ):
        made = Schedule(id=str(number), spec=spec_, enabled=enabled, anchor=START, next_at=START, created=0, updated=0)
        await store.schedules.create(made)
    again = msgspec.structs.replace(HOOK, address="https://one.example/another")
    await ended(store, again, OTHER, chat)
    (taken,) = [one for one in await store.deliveries.take_due(10, 4) if one.target == again]
    await recorded(store, taken, DeliveryStatus.PENDING, error="refused: why")

    assert await store.deliveries.list_webhook_uses(10) == [
        WebhookUse(schedule=("0", "nightly"), address=HOOK.address),
        WebhookUse(address="https://one.example", refusal="why"),
    ]


@pytest.mark.parametrize(
    ("error", "refusal"), [(None, ""), ("", ""), ("answered 503: refused: by us", ""), ("refused: why", "why")]
)
async def test_a_receiver_is_in_use_whatever_became_of_its_last_attempt(
    store: Store, error: str | None, refusal: str
) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await recorded(store, taken, DeliveryStatus.PENDING, error=error)

    assert await store.deliveries.list_webhook_uses(10) == [WebhookUse(address="https://one.example", refusal=refusal)]


async def test_a_receiver_tells_of_the_attempt_that_comes_next(store: Store) -> None:
    for number in (1, 2):
        await ended(store, session=f"main:test:{number}")
    for number, taken in enumerate(await store.deliveries.take_due(10, 2)):
        error = f"refused: {number}"
        await recorded(store, taken, DeliveryStatus.PENDING, next_at=START + 10 - number, error=error)

    assert await store.deliveries.list_webhook_uses(10) == [WebhookUse(address="https://one.example", refusal="1")]


async def test_a_dead_delivery_can_be_retried_with_all_its_attempts(store: Store, clock: SteppedClock) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await recorded(store, taken, DeliveryStatus.DEAD, error="gone", finished=START)
    clock.forward(1000)

    again = await store.deliveries.retry(taken.id)

    assert (again.id, again.status, again.attempt, again.next_at) == (taken.id, DeliveryStatus.PENDING, 0, START + 1000)
    assert (again.error, again.finished) == ("gone", None)


async def test_a_delivery_that_is_delivered_or_being_sent_cannot_be_retried(store: Store) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    with pytest.raises(Conflict, match="is sending"):
        await store.deliveries.retry(taken.id)
    await recorded(store, taken, DeliveryStatus.DELIVERED)

    with pytest.raises(Conflict, match="is delivered"):
        await store.deliveries.retry(taken.id)


async def test_a_retry_leaves_other_dead_letters(store: Store) -> None:
    for session in ("main:test:1", "main:test:2"):
        await ended(store, session=session)
        (taken,) = await store.deliveries.take_due(10, 1)
        await recorded(store, taken, DeliveryStatus.DEAD)
    newest, oldest = await all_of(store)
    await store.deliveries.retry(oldest.id)

    assert [one.status for one in await all_of(store)] == [DeliveryStatus.DEAD, DeliveryStatus.PENDING]
    assert await store.deliveries.get(newest.id) == newest


async def test_an_attempt_whose_delivery_was_made_due_meanwhile_is_not_recorded(store: Store) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await store.deliveries.release_in_flight()
    late = msgspec.structs.replace(taken, status=DeliveryStatus.DELIVERED)

    assert not await store.deliveries.record_attempt(late, TRIED)
    assert (await store.deliveries.get(taken.id)).status is DeliveryStatus.PENDING
    assert [tried.took for tried in await store.deliveries.list_attempts(taken.id)] == [None]


async def test_a_retry_with_the_same_key_is_one_retry(store: Store) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await recorded(store, taken, DeliveryStatus.DEAD)
    await store.deliveries.retry(taken.id, key())
    (again,) = await store.deliveries.take_due(10, 1)

    assert await store.deliveries.retry(taken.id, key()) == again


async def test_deliveries_are_listed_by_status_and_run_in_pages_newest_first(store: Store) -> None:
    first = await ended(store, HOOK, session="main:test:1")
    second = await ended(store, HOOK, OTHER, session="main:test:2")
    (taken, *_) = await store.deliveries.take_due(1, 1)
    await recorded(store, taken, DeliveryStatus.DEAD)

    dead = await store.deliveries.list(DeliveryFilter(status=DeliveryStatus.DEAD), PAGE)
    whole = await all_of(store)
    rest = await store.deliveries.list(ANY, Page(limit=1, before=whole[0].seq))

    assert [delivery.run for delivery in dead] == [first.id]
    assert [delivery.run for delivery in whole] == [second.id, second.id, first.id]
    assert rest == whole[1:2]
    assert len(await store.deliveries.list(DeliveryFilter(run=second.id), PAGE)) == 2


async def test_a_delivery_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    await ended(store)
    (delivery,) = await all_of(store)

    assert await store.deliveries.get(delivery.id[:12].lower()) == delivery


@pytest.mark.parametrize("given", ["01ZZZ", "", "%", "x" * 100])
async def test_an_unknown_delivery_is_not_found(store: Store, given: str) -> None:
    with pytest.raises(DeliveryNotFound):
        await store.deliveries.get(given)


async def test_counts_show_undelivered_deliveries(store: Store) -> None:
    for number in range(4):
        await ended(store, session=f"main:test:{number}")
    for delivery, status in zip(
        await store.deliveries.take_due(3, 3), (DeliveryStatus.DEAD, DeliveryStatus.DELIVERED), strict=False
    ):
        await recorded(store, delivery, status)

    counts = await store.deliveries.count_undelivered()

    assert (counts.pending, counts.dead) == (2, 1)


async def test_every_state_of_a_delivery_is_published_as_a_change(store: Store) -> None:
    told = Told(store)
    run = await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await recorded(store, taken, DeliveryStatus.DEAD)
    await store.deliveries.retry(taken.id)

    changes = [change for change in told.changes if change.topic == "delivery"]

    assert [change.state for change in changes] == ["pending", "dead", "pending"]
    assert {(change.ref, change.agent, change.session) for change in changes} == {
        (taken.id, run.spec.agent, run.spec.session)
    }


async def test_deliveries_are_listed_and_counted_by_their_kind_and_a_part_of_their_address(store: Store) -> None:
    chat = Target(kind="telegram", address="7", format="chat")
    await ended(store, HOOK, OTHER, chat)
    (taken, *_) = await store.deliveries.take_due(10, 1)
    await recorded(store, taken, DeliveryStatus.DEAD, finished=START)

    async def found(**which: str) -> tuple[list[str], dict[str, int]]:
        filter_ = DeliveryFilter(**which)
        counted = await store.deliveries.count(filter_)
        assert counted.exact
        listed = [delivery.target.address for delivery in await store.deliveries.list(filter_, PAGE)]
        return listed, {str(status): number for status, number in counted.numbers.items() if number}

    assert await found() == (["7", OTHER.address, HOOK.address], {"sending": 2, "dead": 1})
    assert (await found(kind="telegram"))[0] == ["7"]
    assert (await found(text="TWO.example"))[0] == [OTHER.address]
    assert await found(kind="telegram", text="two") == ([], {})
    assert sum((await found(kind="webhook"))[1].values()) == 2


async def test_a_count_stops_at_its_limit_and_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.sql.deliveries.MAX_COUNTED_DELIVERIES", 2)
    await ended(store, HOOK, OTHER, Target(kind="telegram", address="7", format="chat"))

    counted = await store.deliveries.count(ANY)
    assert (counted.numbers[DeliveryStatus.PENDING], counted.exact) == (2, False)


# --- attempts ---------------------------------------------------------------------------------


async def test_each_attempt_is_kept_with_what_came_of_it(store: Store) -> None:
    await ended(store)
    (first,) = await store.deliveries.take_due(10, 1)
    failed = msgspec.structs.replace(first, status=DeliveryStatus.PENDING, next_at=START, error="no")
    await store.deliveries.record_attempt(failed, DeliveryAttempt(at=START, took=7, http_status=503, error="no"))
    (second,) = await store.deliveries.take_due(10, 1)
    sent = msgspec.structs.replace(second, status=DeliveryStatus.DELIVERED, finished=START)
    await store.deliveries.record_attempt(sent, DeliveryAttempt(at=START + 9, took=0, http_status=200))

    assert await store.deliveries.list_attempts(first.id) == [
        DeliveryAttempt(number=1, at=START, took=7, http_status=503, error="no"),
        DeliveryAttempt(number=2, at=START + 9, took=0, http_status=200),
    ]


async def test_the_numbers_of_attempts_go_on_after_a_retry(store: Store) -> None:
    await ended(store)
    for _ in range(2):
        (taken,) = await store.deliveries.take_due(10, 1)
        await recorded(store, taken, DeliveryStatus.DEAD, finished=START)
        await store.deliveries.retry(taken.id)

    assert [tried.number for tried in await store.deliveries.list_attempts(taken.id)] == [1, 2]
    assert (await store.deliveries.get(taken.id)).attempt == 0


async def test_the_last_attempts_are_kept(store: Store) -> None:
    await ended(store)
    for _ in range(MAX_KEPT_ATTEMPTS + 2):
        (taken,) = await store.deliveries.take_due(10, 1)
        await recorded(store, taken, DeliveryStatus.PENDING, next_at=START)

    kept = [tried.number for tried in await store.deliveries.list_attempts(taken.id)]
    assert kept == list(range(3, MAX_KEPT_ATTEMPTS + 3))


async def test_an_attempt_that_the_end_of_its_process_interrupted_is_kept_as_such(store: Store) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await store.deliveries.release_in_flight()

    why = "the gateway stopped during this attempt"
    assert await store.deliveries.list_attempts(taken.id) == [DeliveryAttempt(number=1, at=START, took=None, error=why)]


async def test_attempts_go_with_their_delivery(store: Store, clock: SteppedClock) -> None:
    await ended(store)
    (taken,) = await store.deliveries.take_due(10, 1)
    await recorded(store, taken, DeliveryStatus.DEAD, finished=START)
    await store.retention.prune_dead_letters(START)

    assert await store.deliveries.list_attempts(taken.id) == []
