"""Every store keeps the contract: open alerts and their messages are written together, by one process at a time."""

from __future__ import annotations

import msgspec

from gateway.domain.alert import (
    ALERT_RATE_MILLISECONDS,
    AlertContent,
    AlertItem,
    AlertMessage,
    AlertMessageStatus,
    AlertUpdate,
    OpenAlert,
)
from gateway.domain.ports.store import Store
from gateway.domain.run import AttemptResult, Move, Outcome
from gateway.domain.schedule import FireOutcome, FirePlan
from gateway.store.sql.alerts import MAX_ALERT_MESSAGES_KEPT
from tests.contracts.stores import START, Shelf, SteppedClock, claim_one, finish, spec
from tests.contracts.test_store_schedules import MINUTE, made

ITEM = AlertItem(kind="disk", event="opened", subject="data", text="3 MB \0 left 🦊", at=START, agent="main", run="r")
FULL = OpenAlert(kind="disk", subject="data", text="3 MB left", level=2, agent="main", opened=START, told=START + 5)


def message(
    name: str = "a", status: AlertMessageStatus = AlertMessageStatus.COLLECTING, receiver: str = "me", at: int = START
) -> AlertMessage:
    return AlertMessage(
        id=name,
        receiver=receiver,
        status=status,
        content=AlertContent().add_item(ITEM),
        next_at=at,
        created=at,
        released=None if status is AlertMessageStatus.COLLECTING else at,
    )


async def test_nothing_is_known_before_the_first_write(store: Store) -> None:
    state = await store.alerts.read_state()

    assert (state.position, state.revision) == (None, 0)
    assert (list(state.open), list(state.waiting), dict(state.released)) == ([], [], {})


async def test_what_is_written_is_read_by_the_next_process(shelf: Shelf) -> None:
    pending = message("b", AlertMessageStatus.PENDING)
    update = AlertUpdate(revision=0, position=7, opened=[FULL], messages=[message(), pending])
    assert await shelf.open().alerts.save(update)

    state = await shelf.open().alerts.read_state()

    assert (state.position, state.revision) == (7, 1)
    assert (list(state.open), list(state.waiting)) == ([FULL], [message(), pending])
    assert state.released == {"me": [START]}


async def test_a_process_that_was_overtaken_writes_nothing(store: Store) -> None:
    assert await store.alerts.save(AlertUpdate(revision=0, position=1, opened=[FULL]))

    assert not await store.alerts.save(
        AlertUpdate(revision=0, position=2, closed=[FULL.key], messages=[message("late")])
    )
    assert (await store.alerts.read_state()).position == 1
    assert list(await store.alerts.list_open()) == [FULL]
    assert await store.alerts.list_messages(10) == []


async def test_a_condition_changes_and_ends(store: Store) -> None:
    worse = msgspec.structs.replace(FULL, level=9, text="none left")
    await store.alerts.save(AlertUpdate(revision=0, position=1, opened=[FULL]))
    await store.alerts.save(AlertUpdate(revision=1, position=1, opened=[worse]))
    changed = await store.alerts.list_open()
    await store.alerts.save(AlertUpdate(revision=2, position=1, closed=[FULL.key]))

    assert (list(changed), list(await store.alerts.list_open())) == ([worse], [])


async def test_a_message_grows_until_it_is_pending_and_is_sent_once(store: Store) -> None:
    grown = msgspec.structs.replace(message(), content=message().content.add_item(ITEM))
    pending = msgspec.structs.replace(grown, status=AlertMessageStatus.PENDING, released=START)
    gone = msgspec.structs.replace(pending, status=AlertMessageStatus.DELIVERED, attempt=1, finished=START + 1)
    await store.alerts.save(AlertUpdate(revision=0, position=1, messages=[message()]))

    assert not await store.alerts.record_send(gone), "it collects"
    await store.alerts.save(AlertUpdate(revision=1, position=1, messages=[pending]))
    assert await store.alerts.record_send(gone)
    assert not await store.alerts.record_send(gone), "it was sent"
    assert (await store.alerts.read_state()).waiting == []
    assert list(await store.alerts.list_messages(10)) == [gone]


async def test_only_messages_of_the_last_hour_count_for_the_rate(store: Store, clock: SteppedClock) -> None:
    messages = [message(str(number), AlertMessageStatus.PENDING, at=START + number * MINUTE) for number in (0, 30, 59)]
    await store.alerts.save(AlertUpdate(revision=0, position=1, messages=messages))
    clock.forward(ALERT_RATE_MILLISECONDS + MINUTE)

    assert (await store.alerts.read_state()).released == {"me": [START + 30 * MINUTE, START + 59 * MINUTE]}


async def test_the_newest_messages_are_kept_and_those_that_wait_or_count_for_the_hour(
    store: Store, clock: SteppedClock
) -> None:
    count = MAX_ALERT_MESSAGES_KEPT + 3
    messages = [message(f"{number:04}", AlertMessageStatus.DELIVERED) for number in range(count)]
    messages[0] = message("0000", AlertMessageStatus.PENDING)
    await store.alerts.save(AlertUpdate(revision=0, position=1, messages=messages))

    await store.retention.prune_expired()
    assert len(await store.alerts.list_messages(count)) == count
    clock.forward(61 * MINUTE)
    await store.retention.prune_expired()

    kept = [one.id for one in await store.alerts.list_messages(count)]
    assert (len(kept), kept[-1], kept[-2]) == (MAX_ALERT_MESSAGES_KEPT + 1, "0000", "0003")


async def test_only_changes_that_may_be_trouble_are_read(store: Store) -> None:
    await store.runs.accept(spec("main:test:fine"))
    await finish(store, await claim_one(store))
    await store.runs.accept(spec("main:test:bad"))
    failed = await claim_one(store)
    await finish(store, failed, AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="no"))
    newest = await store.events.last_change()

    (found,) = await store.alerts.read_trouble_after(0, newest, 10)

    assert (found.topic, found.state, found.ref) == ("run", "failed", failed.id)
    assert await store.alerts.read_trouble_after(found.seq, newest, 10) == []
    assert await store.alerts.read_trouble_after(0, found.seq - 1, 10) == []


async def test_missed_and_refused_times_are_found_by_when_they_were_noted(store: Store, clock: SteppedClock) -> None:
    schedule = await store.schedules.create(made())
    clock.forward(3 * MINUTE)
    plan = FirePlan(
        schedule=schedule,
        missed_times=(START + MINUTE,),
        missed_count=1,
        refused_times=(START + 2 * MINUTE,),
        error="no agent",
        next_at=START + 4 * MINUTE,
    )
    await store.schedules.fire(plan)

    found = await store.alerts.list_missed_fires(clock(), clock(), 10)

    assert [(one.schedule, one.newest.outcome, one.newest.error, one.total) for one in found] == [
        (schedule.id, FireOutcome.REFUSED, "no agent", 2)
    ]
    assert await store.alerts.list_missed_fires(START, clock() - 1, 10) == []
