"""Each condition: it opens or happens when something is wrong, and ends when all is well again."""

from __future__ import annotations

import json
import shutil
import threading
from collections import namedtuple
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import gateway
from gateway.domain.budget import Budget
from gateway.domain.delivery import PermanentFailure, Target
from gateway.domain.event import Text
from gateway.domain.generation import CRASHED_REASON, GenerationRecord
from gateway.domain.page import Page
from gateway.domain.ports.backend import Turn
from gateway.domain.ports.channel import ChannelState
from gateway.domain.schedule import Misfire, Schedule, ScheduleSpec
from gateway.engine.alerts.conditions import disk, schedule_missed
from gateway.engine.background.outbox import DeliverySetup
from gateway.errors import AgentError
from harness.waiting import PATIENCE, until
from tests.contracts.stores import START, SteppedClock
from tests.engine.alerts.watching import Recorder, Watch, open_alerts, write_status
from tests.engine.stage import Stage, staged

MINUTE = 60_000
_PAGE = Page(limit=100)
HOUR = 60 * MINUTE


async def obeying(turn: Turn) -> AsyncGenerator[Any, None]:
    """Fail if the input says so."""
    if "fail" in turn.input:
        raise AgentError("it broke.")
    yield Text(delta="fine")


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def stage(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[Stage]:
    agents = {"main": {}, "poor": {"budget": Budget(runs=5)}}
    async with staged(tmp_path, obeying, clock=clock, agents=agents) as opened:
        yield opened


def with_input(schedule: Schedule, text: str) -> Schedule:
    return msgspec.structs.replace(schedule, spec=msgspec.structs.replace(schedule.spec, input=text))


async def fire(stage: Stage, clock: SteppedClock, minutes: int) -> None:
    """Let time pass, and have what is due fired and done."""
    clock.forward(minutes * MINUTE)
    await stage.engine._scheduler._fire_due()
    for schedule in await stage.engine.schedules.list_schedules(_PAGE):
        if schedule.last_run is not None:
            await stage.ended(schedule.last_run)


# --- runs and deliveries ----------------------------------------------------------------------


async def test_a_failed_run_is_told_with_its_agent_and_reason_and_a_good_one_is_not(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock)
    await watch.look()
    await stage.do("hello")
    failed = await stage.do("fail")
    await watch.look()

    assert watch.recorder.texts == ["agent main: it broke."]
    (item,) = watch.recorder.sent[0].content.items
    assert (item.agent, item.run, item.subject) == ("main", failed.id, failed.id)
    assert await open_alerts(stage) == []


async def test_a_delivery_that_is_given_up_is_told(tmp_path: Path, clock: SteppedClock) -> None:
    class Refusing:
        async def send_delivery(self, *_: object) -> PermanentFailure:
            return PermanentFailure("gone for good")

    setup = DeliverySetup(senders={"webhook": Refusing()}, bodies={"task": lambda run: b""})
    async with staged(tmp_path, clock=clock, delivery_setup=setup) as stage:
        watch = Watch(stage, clock)
        await watch.look()
        await stage.do("hello", deliver=(Target(kind="webhook", address="http://one.example/x"),))
        await until(lambda: not stage.engine._outbox._sending, "the outbox is idle")
        while watch.told == []:
            await watch.look()

    (text,) = watch.recorder.texts
    assert watch.told == [("dead_letter", "happened")]
    assert "to http://one.example: gone for good" in text


# --- schedules --------------------------------------------------------------------------------


async def test_a_schedule_that_fails_several_times_is_told_and_that_it_works_again(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"schedule_failing"}), schedule_failures=2)
    await watch.look()
    made = await stage.engine.schedules.create_schedule(ScheduleSpec(name="inbox", expression="every 5m", input="fail"))
    await fire(stage, clock, 5)
    await watch.look()
    assert watch.told == []

    await fire(stage, clock, 5)
    await watch.look()
    await fire(stage, clock, 5)
    await watch.look()
    assert [alert.subject for alert in await open_alerts(stage)] == [made.id]

    await stage.store.schedules.replace(with_input(await stage.store.schedules.get(made.id), "hello"))
    await fire(stage, clock, 5)
    await watch.look()

    assert watch.recorder.texts == ['schedule "inbox" failed 2 times in a row', 'schedule "inbox" works again']


async def test_a_schedule_that_is_disabled_for_its_failures_is_told_however_few_they_were(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"schedule_failing"}))
    await watch.look()
    spec = ScheduleSpec(name="inbox", expression="every 5m", input="fail", max_failures=1)
    made = await stage.engine.schedules.create_schedule(spec)
    await fire(stage, clock, 5)
    await watch.look()
    await stage.engine.schedules.toggle_schedule(made.id, True)
    clock.forward(MINUTE)
    await watch.look()

    failed, again = watch.recorder.texts
    assert failed.startswith('schedule "inbox" failed once, and it was disabled: ')
    assert again == 'schedule "inbox" was changed: its failures count from zero again'


async def test_what_is_told_of_a_schedule_belongs_to_the_agent_that_works_for_it(
    stage: Stage, clock: SteppedClock
) -> None:
    kinds = frozenset({"schedule_failing", "schedule_missed", "budget"})
    watch = Watch(stage, clock, kinds=kinds, schedule_failures=1)
    await watch.look()
    once = Budget(runs=1)
    spec = ScheduleSpec(expression="every 5m", input="fail", misfire=Misfire.SKIP, budget=once)
    for which in (spec, msgspec.structs.replace(spec, session="poor:cron:x")):
        await stage.engine.schedules.create_schedule(which)
    await fire(stage, clock, 5)
    await fire(stage, clock, 12)
    await watch.look()

    told = [(item.kind, item.agent) for message in watch.recorder.sent for item in message.content.items]
    assert set(told) == {(kind, agent) for kind in kinds for agent in ("main", "poor")}


async def test_a_failing_schedule_that_somebody_disables_is_no_problem_any_more(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock, schedule_failures=1, kinds=frozenset({"schedule_failing"}))
    await watch.look()
    spec = ScheduleSpec(name="inbox", expression="every 5m", input="fail")
    made = await stage.engine.schedules.create_schedule(spec)
    await fire(stage, clock, 5)
    await watch.look()
    await stage.engine.schedules.toggle_schedule(made.id, False)
    clock.forward(MINUTE)
    await watch.look()

    assert watch.recorder.texts == ['schedule "inbox" failed once', 'schedule "inbox" was disabled']


async def test_times_that_were_missed_are_told_until_the_schedule_has_run_again(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"schedule_missed"}))
    await watch.look()
    spec = ScheduleSpec(name="inbox", expression="every 10m", input="hello", misfire=Misfire.SKIP)
    await stage.engine.schedules.create_schedule(spec)
    await fire(stage, clock, 35)
    await watch.look()
    await watch.look()
    assert len(await open_alerts(stage)) == 1

    await fire(stage, clock, 5)
    clock.forward(MINUTE)
    await watch.look()

    missed, again = watch.recorder.texts
    assert missed.startswith('schedule "inbox": 3 times were missed or refused')
    assert again == 'schedule "inbox" has run again'
    assert await open_alerts(stage) == []


async def test_many_missed_times_of_one_schedule_do_not_hide_those_of_another(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_missed, "MAX_MISSED_PER_LOOK", 2)
    watch = Watch(stage, clock, kinds=frozenset({"schedule_missed"}))
    await watch.look()
    for name, times in (("often", "every 5m"), ("seldom", "every 50m")):
        spec = ScheduleSpec(name=name, expression=times, input="hello", misfire=Misfire.SKIP)
        await stage.engine.schedules.create_schedule(spec)
    await fire(stage, clock, 59)
    await watch.look()

    assert sorted(text.partition(":")[0] for text in watch.recorder.texts) == [
        'schedule "often"',
        'schedule "seldom"',
    ]


async def test_the_missed_time_of_a_schedule_that_is_over_is_no_alert_for_ever(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"schedule_missed"}))
    await watch.look()
    at = datetime.fromtimestamp((clock() + 5 * MINUTE) / 1000, UTC).isoformat()
    spec = ScheduleSpec(name="once", expression=at, input="hello", misfire=Misfire.SKIP)
    await stage.engine.schedules.create_schedule(spec)
    await fire(stage, clock, 30)
    for _ in range(3):
        await watch.look()
        clock.forward(13 * HOUR)
    await watch.look()

    missed, over = watch.recorder.texts
    assert missed.startswith('schedule "once": ')
    assert over == 'schedule "once" is disabled, and has missed nothing more'


async def test_a_deleted_schedule_is_no_problem_any_more(stage: Stage, clock: SteppedClock) -> None:
    watch = Watch(stage, clock, schedule_failures=1, kinds=frozenset({"schedule_failing"}))
    await watch.look()
    made = await stage.engine.schedules.create_schedule(ScheduleSpec(expression="every 5m", input="fail"))
    await fire(stage, clock, 5)
    await watch.look()
    await stage.engine.schedules.delete_schedule(made.id)
    clock.forward(MINUTE)
    await watch.look()

    assert [event for _, event in watch.told] == ["opened", "ended"]


# --- budgets ----------------------------------------------------------------------------------


async def test_a_budget_is_told_at_80_percent_and_when_it_is_used_up_and_the_next_day(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"budget"}))
    for _ in range(5):
        await stage.do("hello", session="poor:test:a")
        clock.forward(MINUTE)
        await watch.look()
    clock.forward(24 * HOUR)
    await watch.look()

    assert watch.recorder.texts == [
        "the budget of agent poor is used to 80 % today: 4 of 5 runs",
        "the budget of agent poor is used up today: 5 of 5 runs",
        "the budget of agent poor has room again",
    ]


async def test_a_budget_is_told_each_day_though_nobody_looked_in_the_night(stage: Stage, clock: SteppedClock) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"budget"}))
    for _ in range(2):
        for _ in range(5):
            await stage.do("hello", session="poor:test:a")
        await watch.look()
        clock.forward(24 * HOUR)

    assert watch.recorder.texts == ["the budget of agent poor is used up today: 5 of 5 runs"] * 2


# --- channels ---------------------------------------------------------------------------------


async def channel_watch(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> tuple[Watch, dict[str, ChannelState]]:
    states: dict[str, ChannelState] = {}
    monkeypatch.setattr(stage.engine.channels, "read_states", lambda: states)
    watch = Watch(stage, clock, kinds=frozenset({"channel"}), channel_minutes=5)
    return watch, states


async def test_a_channel_that_is_refused_is_told_at_once_and_when_it_works_again(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, states = await channel_watch(stage, clock, monkeypatch)
    for state in ("passive", "refused", "refused", "passive", "polling"):
        states["telegram"] = ChannelState(state=state, detail="401")
        clock.forward(10_000)
        await watch.look()

    assert watch.recorder.texts == ["channel telegram is refused: 401", "channel telegram works again"]


async def test_a_channel_that_waits_is_told_after_some_minutes(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, states = await channel_watch(stage, clock, monkeypatch)
    states["telegram"] = ChannelState(state="waiting", detail="cannot be reached")
    await watch.look()
    clock.forward(4 * MINUTE)
    await watch.look()
    assert watch.told == []

    clock.forward(MINUTE)
    await watch.look()
    assert watch.recorder.texts == ["channel telegram has not worked for 5 min: cannot be reached"]


async def test_a_channel_whose_polls_get_no_answer_is_told(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, states = await channel_watch(stage, clock, monkeypatch)
    states["telegram"] = ChannelState(state="polling", detail="@bot", last_poll=clock())
    for minutes in (0, 4, 1):
        clock.forward(minutes * MINUTE)
        await watch.look()
    states["telegram"] = ChannelState(state="polling", detail="@bot", last_poll=clock())
    clock.forward(10_000)
    await watch.look()

    assert [event for _, event in watch.told] == ["opened", "ended"]


async def test_a_channel_that_is_no_longer_configured_is_no_problem(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, states = await channel_watch(stage, clock, monkeypatch)
    states["telegram"] = ChannelState(state="refused", detail="401")
    await watch.look()
    del states["telegram"]
    clock.forward(10_000)
    await watch.look()

    assert watch.recorder.texts[-1] == "channel telegram is no longer configured"


# --- the machine ------------------------------------------------------------------------------


async def test_a_disk_is_told_when_it_is_low_and_when_it_has_clearly_more_room(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    watch = Watch(stage, clock, kinds=frozenset({"disk"}), disk_free_mb=100)
    for megabytes in (150, 99, 110, 99, 130):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=megabytes: usage(0, 0, free * 1_000_000))
        clock.forward(HOUR)
        await watch.look()

    assert watch.recorder.texts == [
        "the disk of the data directory has 99 MB left",
        "the disk of the data directory has room again: 130 MB",
    ]


async def test_a_disk_that_does_not_answer_holds_one_thread(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, asked = threading.Event(), list[dict[str, Path]]()

    def measure(directories: dict[str, Path]) -> dict[str, int]:
        asked.append(directories)
        answer.wait(PATIENCE)
        return {"data": 1}

    monkeypatch.setattr(disk, "_measure_disks", measure)
    monkeypatch.setattr("gateway.engine.alerts.service.LOOK_TIMEOUT_SECONDS", 0.01)
    watch = Watch(stage, clock, kinds=frozenset({"disk"}))
    try:
        for _ in range(3):
            clock.forward(HOUR)
            await watch.look()
    finally:
        answer.set()
    monkeypatch.setattr("gateway.engine.alerts.service.LOOK_TIMEOUT_SECONDS", PATIENCE)
    clock.forward(HOUR)
    await watch.look()

    assert len(asked) == 1
    assert watch.told == [("disk", "opened")]


async def test_crashes_in_one_hour_are_told_until_they_are_long_ago(stage: Stage, clock: SteppedClock) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"crash_loop"}), crashes=3)
    for number in range(3):
        await watch.look()
        assert watch.told == []
        record = GenerationRecord(owner="a@1/1/b", generation=number, version="1", started=START, ready=START)
        await stage.store.generations.add(record)
        await stage.store.generations.close(record.owner, number, CRASHED_REASON)
        clock.forward(MINUTE)
    await watch.look()
    clock.forward(HOUR)
    await watch.look()

    assert watch.recorder.texts == [
        "the gateway crashed 3 times in the last hour; gateway logs shows why",
        "the gateway no longer crashes",
    ]


def backup_status(success: int | None, failure: int | None = None) -> str:
    return json.dumps(
        {
            "last_success": success and {"at": success, "file": "b.tar", "bytes": 5},
            "last_failure": failure and {"at": failure, "error": "the disk is full"},
        }
    )


async def test_a_backup_is_told_when_it_fails_or_is_too_old_and_when_there_is_one_again(
    stage: Stage, clock: SteppedClock
) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"backup"}), backup_hours=24)
    await watch.look()
    for success, failure in ((clock() + HOUR, None), (clock() + HOUR, clock() + 2 * HOUR), (clock() + 3 * HOUR, None)):
        write_status(stage.directory, "backup-status.json", backup_status(success, failure))
        clock.forward(HOUR)
        await watch.look()
    clock.forward(25 * HOUR)
    await watch.look()

    assert watch.recorder.texts == [
        "the last backup failed: the disk is full",
        "a backup was made",
        "the last backup is 25 h old",
    ]


async def test_without_any_backup_it_is_told_after_the_time(stage: Stage, clock: SteppedClock) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"backup"}), backup_hours=1)
    write_status(stage.directory, "backup-status.json", "not JSON")
    await watch.look()
    clock.forward(HOUR + MINUTE)
    await watch.look()

    assert watch.recorder.texts == ["no backup has been made yet"]


async def test_restarts_do_not_hide_that_no_backup_was_ever_made(stage: Stage, clock: SteppedClock) -> None:
    recorder = Recorder()
    for _ in range(5):
        watch = Watch(stage, clock, kinds=frozenset({"backup"}), backup_hours=2, recorder=recorder)
        await watch.look()
        clock.forward(HOUR)

    assert recorder.texts == ["no backup has been made yet"]


async def test_backups_are_no_matter_without_a_plan(stage: Stage, clock: SteppedClock) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"backup"}))
    clock.forward(1000 * HOUR)
    await watch.look()

    assert watch.told == []


async def test_a_newer_version_is_told_until_it_is_installed(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(stage, clock, kinds=frozenset({"update"}))
    monkeypatch.setattr(gateway, "__version__", "1.9.0")
    for latest, own in (("1.9.0", "1.9.0"), ("1.10.0", "1.9.0"), ("1.11.0", "1.9.0"), ("1.11.0", "1.11.0")):
        write_status(
            stage.directory, "update-status.json", json.dumps({"checked_at": START, "current": own, "latest": latest})
        )
        monkeypatch.setattr(gateway, "__version__", own)
        clock.forward(HOUR)
        await watch.look()

    assert watch.recorder.texts == [
        "version 1.10.0 is available, this is 1.9.0: gateway update",
        "version 1.11.0 is available, this is 1.9.0: gateway update",
        "there is a newer version than 1.10.0 now",
        "version 1.11.0 is installed",
    ]
