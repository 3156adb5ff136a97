"""The service: what it has seen is on disk, so that it is told at least once, whatever happens in between."""

from __future__ import annotations

import asyncio
import shutil
from collections import namedtuple
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from gateway.domain.alert import AlertMessageStatus
from gateway.domain.delivery import PermanentFailure, RetryLater
from gateway.domain.schedule import ScheduleSpec
from gateway.engine.alerts import service
from gateway.engine.alerts.planning import AlertReceiver
from gateway.engine.alerts.sending import MAX_ALERT_AGE_MILLISECONDS
from gateway.errors import StorageFull, Unavailable
from harness.waiting import PATIENCE, until
from tests.contracts.stores import SteppedClock
from tests.engine.alerts.test_conditions import fire, obeying
from tests.engine.alerts.watching import Recorder, Watch, open_alerts
from tests.engine.stage import Between, Stage, staged

pytestmark = pytest.mark.both_stores

RUNS = frozenset({"run_failed"})
DISK = frozenset({"disk"})


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def stage(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[Stage]:
    async with staged(tmp_path, obeying, clock=clock) as opened:
        yield opened


async def statuses(stage: Stage) -> list[AlertMessageStatus]:
    return [message.status for message in await stage.store.alerts.list_messages(100)]


async def count_items(stage: Stage) -> int:
    return sum(len(message.content.items) for message in await stage.store.alerts.list_messages(100))


async def test_what_was_before_alerts_were_on_is_not_told(stage: Stage, clock: SteppedClock) -> None:
    await stage.do("fail")
    watch = Watch(stage, clock, kinds=RUNS)
    await watch.look()

    assert watch.told == []


async def test_a_failure_while_nobody_looked_is_told_by_the_next_process(stage: Stage, clock: SteppedClock) -> None:
    await Watch(stage, clock, kinds=RUNS).look()
    await stage.do("fail")
    following = Watch(stage, clock, kinds=RUNS)
    await following.look()
    await following.look()

    assert following.told == [("run_failed", "happened")]


async def test_a_process_that_dies_while_it_sends_leaves_the_message_to_the_next_one(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock, kinds=RUNS)
    await watch.look()
    await stage.do("fail")
    watch.recorder.gate.clear()
    watch.service._round_at = 0.0
    await watch.service._run_round()
    await until(lambda: watch.recorder.sent, "it is being sent")
    await watch.service.stop()
    following = Watch(stage, clock, kinds=RUNS)
    await following.look()

    assert [message.id for message in following.recorder.sent] == [message.id for message in watch.recorder.sent]
    assert await statuses(stage) == [AlertMessageStatus.DELIVERED]


async def test_a_disk_that_refuses_delays_what_is_told_and_loses_nothing(stage: Stage, clock: SteppedClock) -> None:
    between = Between(stage.store)
    watch = Watch(stage, clock, kinds=RUNS, store=between)  # type: ignore[arg-type]
    await watch.look()
    await stage.do("fail")
    between.refuse["alerts.save"] = [Unavailable("busy.")]
    with pytest.raises(Unavailable):
        await watch.look()
    await watch.look()

    assert watch.told == [("run_failed", "happened")]


async def test_a_look_that_the_store_refuses_is_made_again_with_the_same_news(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_LOOK_TRIES", 3)
    between = Between(stage.store)
    kinds = frozenset({"run_failed", "schedule_failing"})
    watch = Watch(stage, clock, kinds=kinds, store=between, schedule_failures=1)  # type: ignore[arg-type]
    await watch.look()
    await stage.engine.schedules.create_schedule(ScheduleSpec(expression="every 5m", input="fail"))
    await fire(stage, clock, 5)
    between.refuse["schedules.read_some"] = [Unavailable("busy."), Unavailable("busy.")]
    for _ in range(2):
        with pytest.raises(Unavailable):
            await watch.look()
    await watch.look()
    assert watch.told == [("run_failed", "happened"), ("schedule_failing", "opened")]

    await stage.do("fail")
    between.refuse["schedules.read_some"] = [Unavailable("damaged.") for _ in range(3)]
    clock.forward(60_000)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await watch.look()
    await watch.look()
    assert watch.told[2:] == [("run_failed", "happened"), ("schedule_failing", "happened")], (
        "one that always fails does not keep the others for ever, and is told"
    )
    assert "could not be looked at (1 in all): damaged." in watch.recorder.texts[-1]


async def test_what_was_sent_is_not_sent_again_and_again_though_that_cannot_be_noted(
    stage: Stage, clock: SteppedClock
) -> None:
    between = Between(stage.store)
    watch = Watch(stage, clock, kinds=RUNS, store=between)  # type: ignore[arg-type]
    await watch.look()
    await stage.do("fail")
    between.refuse["alerts.record_send"] = [ZeroDivisionError()]
    for _ in range(3):
        await watch.look()
        clock.forward(60_000)

    assert watch.told == [("run_failed", "happened")]


async def test_what_cannot_be_sent_is_tried_for_a_day_and_given_up_without_an_alert_about_it(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"run_failed", "dead_letter"}))
    watch.recorder.results = [RetryLater("busy"), RuntimeError("broke"), PermanentFailure("no such chat")]
    watch.recorder.results += [RetryLater("still busy")] * 3
    await watch.look()
    await stage.do("fail")
    await watch.look()
    for _ in range(4):
        clock.forward(1500)
        await watch.look()
    assert await statuses(stage) == [AlertMessageStatus.PENDING]
    clock.forward(MAX_ALERT_AGE_MILLISECONDS)
    await watch.look()
    await watch.look()

    (message,) = await stage.store.alerts.list_messages(10)
    assert (message.status, message.error, message.attempt) == (AlertMessageStatus.DEAD, "still busy", 6)
    assert {sent.id for sent in watch.recorder.sent} == {message.id}


async def test_the_end_of_what_was_told_while_the_disk_was_full_is_told_too(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = Between(stage.store)
    watch = Watch(stage, clock, kinds=DISK, store=between, disk_free_mb=1)  # type: ignore[arg-type]
    between.refuse["alerts.save"] = [StorageFull("full.")]
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(0))
        with pytest.raises(StorageFull):
            await watch.look()
        await watch.service._sending.wait_sent()
    for _ in range(3):
        clock.forward(60_000)
        await watch.look()

    assert watch.told == [("disk", "opened"), ("disk", "ended")]


async def test_a_webhook_that_wants_no_more_is_not_tried_again(stage: Stage, clock: SteppedClock) -> None:
    watch = Watch(stage, clock, kinds=RUNS)
    watch.recorder.results = [PermanentFailure("answered 410: it wants no more", 410)]
    await watch.look()
    await stage.do("fail")
    await watch.look()

    assert await statuses(stage) == [AlertMessageStatus.DEAD]


async def test_what_happens_while_a_receiver_is_away_is_one_message_when_it_is_back(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock, kinds=RUNS)
    watch.recorder.results = [RetryLater("away")] * 3
    await watch.look()
    for _ in range(4):
        await stage.do("fail")
        clock.forward(2000)
        await watch.look()
    clock.forward(2000)
    await watch.look()
    await watch.look()

    first, *_, last = watch.recorder.sent
    assert (len(first.content.items), len(last.content.items)) == (1, 3)
    assert await statuses(stage) == [AlertMessageStatus.DELIVERED] * 2


async def test_a_full_disk_is_told_though_nothing_can_be_stored_and_not_each_time(
    stage: Stage, clock: SteppedClock
) -> None:
    between = Between(stage.store)
    watch = Watch(stage, clock, kinds=DISK, store=between, disk_free_mb=10**9)  # type: ignore[arg-type]
    between.refuse["alerts.save"] = [StorageFull("full.") for _ in range(3)]
    for _ in range(3):
        with pytest.raises(StorageFull):
            await watch.look()
        await watch.service._sending.wait_sent()
        clock.forward(60_000)
    assert watch.told == [("disk", "opened")]
    clock.forward(60_000)
    await watch.look()

    assert watch.told == [("disk", "opened")] * 2, "what was told without being stored is told again, once"
    assert len(await open_alerts(stage)) == 1


async def test_a_process_that_was_overtaken_reads_again_and_tells_nothing_twice(
    stage: Stage, clock: SteppedClock
) -> None:
    recorder = Recorder()
    old = Watch(stage, clock, kinds=RUNS, recorder=recorder)
    new = Watch(stage, clock, kinds=RUNS, recorder=recorder)
    await old.look()
    await new.look()
    await stage.do("fail")
    await new.look()
    await old.look()
    await old.look()

    assert recorder.told == [("run_failed", "happened")]


async def test_a_condition_that_was_told_is_not_told_again_after_a_restart(stage: Stage, clock: SteppedClock) -> None:
    recorder = Recorder()
    for _ in range(3):
        await Watch(stage, clock, kinds=DISK, recorder=recorder, disk_free_mb=10**9).look()
    await Watch(stage, clock, kinds=DISK, recorder=recorder, disk_free_mb=1).look()

    assert [event for _, event in recorder.told] == ["opened", "ended"]


async def test_what_no_receiver_wants_any_more_is_forgotten(stage: Stage, clock: SteppedClock) -> None:
    await Watch(stage, clock, kinds=DISK, disk_free_mb=10**9).look()
    assert len(await open_alerts(stage)) == 1
    later = Watch(stage, clock, kinds=RUNS)
    await later.look()

    assert (await open_alerts(stage), later.told) == ([], [])


async def test_a_message_to_a_receiver_that_is_gone_is_given_up(stage: Stage, clock: SteppedClock) -> None:
    watch = Watch(stage, clock, kinds=RUNS)
    watch.recorder.results = [RetryLater("busy")]
    await watch.look()
    await stage.do("fail")
    await watch.look()
    later = Watch(stage, clock, kinds=DISK, name="other")
    await later.look()

    (message,) = await stage.store.alerts.list_messages(10)
    assert (message.status, message.error) == (AlertMessageStatus.DEAD, "the receiver is no longer configured")
    assert later.told == []


async def test_a_receiver_with_a_new_name_is_told_what_the_old_one_was_not_and_all_that_is_open(
    stage: Stage, clock: SteppedClock
) -> None:
    kinds = RUNS | DISK
    watch = Watch(stage, clock, kinds=kinds, disk_free_mb=10**9)
    await watch.look()
    watch.recorder.results = [RetryLater("no such chat")]
    await stage.do("fail")
    await watch.look()
    assert watch.told == [("disk", "opened"), ("run_failed", "happened")]
    recorder = Recorder()
    for _ in range(3):
        await Watch(stage, clock, kinds=kinds, disk_free_mb=10**9, name="right", recorder=recorder).look()
    assert recorder.told == [("run_failed", "happened"), ("disk", "continues")]

    await Watch(stage, clock, kinds=kinds, disk_free_mb=1, name="right", recorder=recorder).look()
    assert recorder.told[2:] == [("disk", "ended")]
    assert AlertMessageStatus.PENDING not in await statuses(stage)


@pytest.mark.parametrize("wrong", ["accepts", "refuses"])
async def test_a_corrected_address_is_told_once_what_the_wrong_one_was(
    stage: Stage, clock: SteppedClock, wrong: str
) -> None:
    watch = Watch(stage, clock, kinds=DISK, disk_free_mb=10**9, address_mark="a1")
    watch.recorder.results = [RetryLater("no such chat")] if wrong == "refuses" else []
    await watch.look()
    clock.forward(60_000)
    right = Recorder()
    for _ in range(3):
        await Watch(stage, clock, kinds=DISK, disk_free_mb=10**9, address_mark="b2", recorder=right).look()

    assert right.told == [("disk", "opened" if wrong == "refuses" else "continues")]


async def test_a_new_receiver_is_told_what_is_open_though_who_was_told_cannot_be_noted_at_once(
    stage: Stage, clock: SteppedClock
) -> None:
    await Watch(stage, clock, kinds=DISK, disk_free_mb=10**9).look()
    between = Between(stage.store)
    between.refuse["notes.save"] = [Unavailable("busy.")]
    later = Watch(stage, clock, kinds=DISK, disk_free_mb=10**9, name="right", store=between)  # type: ignore[arg-type]
    await later.look()
    await later.look()
    await later.look()

    assert later.told == [("disk", "continues")]
    assert between.calls["notes.save"] == 2


async def test_a_condition_that_breaks_keeps_no_other_from_being_told(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(stage, clock)

    async def broken() -> list[object]:
        raise ZeroDivisionError

    monkeypatch.setattr(stage.engine.usage, "list_budgets", broken)
    with structlog.testing.capture_logs() as logs:
        await watch.look()
        await stage.do("fail")
        await watch.look()

    assert ("run_failed", "happened") in watch.told
    assert "alerts.look_broke" in [line["event"] for line in logs]


async def test_more_failures_than_one_round_reads_are_all_counted(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.engine.alerts.service.MAX_CHANGES_PER_ROUND", 3)
    watch = Watch(stage, clock, kinds=RUNS)
    await watch.look()
    for _ in range(7):
        await stage.do("fail")
    for _ in range(4):
        await watch.look()

    assert len(watch.told) == 7


async def test_a_failure_wakes_the_service(stage: Stage, clock: SteppedClock) -> None:
    watch = Watch(stage, clock, kinds=RUNS)
    watch.service.start()
    try:
        await until(lambda: watch.service._state is not None, "it looks")
        await stage.do("fail")
        await until(lambda: watch.told, "it is told")
    finally:
        await watch.service.stop()
        await watch.service.stop()

    assert watch.told == [("run_failed", "happened")]


async def test_a_flood_of_failures_does_not_have_everything_else_looked_at(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(stage, clock)
    looks: list[object] = []
    list_budgets = stage.engine.usage.list_budgets
    monkeypatch.setattr(stage.engine.usage, "list_budgets", lambda: looks.append(1) or list_budgets())
    for _ in range(5):
        await stage.do("fail")
        await watch.look()

    assert len(looks) == 1


async def test_an_agent_that_is_not_there_is_named_in_the_log(stage: Stage, clock: SteppedClock) -> None:
    watch = Watch(stage, clock, kinds=RUNS)
    watch.service._receivers = [AlertReceiver(name="me", kinds=RUNS, agents=frozenset(("main", "mian")), per_hour=1)]
    watch.service._is_agent = lambda name: name == "main"
    with structlog.testing.capture_logs() as logs:
        watch.service.start()
        await watch.service.stop()

    assert [line["agent"] for line in logs if line["event"] == "alerts.unknown_agent"] == ["mian"]


async def test_a_slow_receiver_gets_one_message_at_a_time(stage: Stage, clock: SteppedClock) -> None:
    watch = Watch(stage, clock, kinds=RUNS)
    watch.recorder.gate.clear()
    watch.service.start()
    try:
        await until(lambda: watch.service._state is not None, "it looks")
        await stage.do("fail")
        await until(lambda: watch.recorder.sent, "the first is being sent")
        for _ in range(2):
            await stage.do("fail")
        async with asyncio.timeout(PATIENCE):
            while await count_items(stage) < 3:
                await asyncio.sleep(0.01)
        assert len(watch.recorder.sent) == 1
        watch.recorder.gate.set()
        await until(lambda: len(watch.told) == 3, "all are told")
    finally:
        await watch.service.stop()
    assert len(watch.recorder.sent) <= 2
