"""Schedules fire when their time comes: once, whatever happens around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.domain import cron
from gateway.domain.page import Page
from gateway.domain.run import RunFilter, Source, Status
from gateway.domain.schedule import Misfire, Overlap, ScheduleSpec
from gateway.engine.engine import Engine
from gateway.engine.service_loop import RETRY_SECONDS
from gateway.errors import AgentError, AgentNotFound, Conflict, InvalidRequest, ScheduleNotFound, Unavailable
from harness.waiting import PATIENCE
from tests.contracts.stores import START, SteppedClock
from tests.engine.stage import Between, Stage, Turn, hanging, staged

pytestmark = pytest.mark.both_stores

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
PAGE = Page(limit=1000)
_ALL = RunFilter()
#: START is 22:13:20 UTC
NINE = "0 9 * * *"


def wanted(expression: str = NINE, **fields: Any) -> ScheduleSpec:
    return ScheduleSpec(expression=expression, input="wake", **fields)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(START)


@pytest.fixture
async def stage(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[Stage]:
    async with staged(tmp_path, clock=clock) as opened:
        yield opened


async def tick(engine: Engine) -> None:
    """Have what is due fired, and nothing else."""
    await engine._scheduler._fire_due()


async def outcomes(engine: Engine, id_: str) -> list[str]:
    return [str(fire.outcome) for fire in await engine.schedules.list_fires(id_, PAGE)]


async def test_a_time_that_comes_becomes_one_run_in_the_schedules_session(stage: Stage, clock: SteppedClock) -> None:
    made = await stage.engine.schedules.create_schedule(wanted("every 15m"))
    clock.forward(15 * MINUTE)
    await tick(stage.engine)
    await tick(stage.engine)

    (fire,) = await stage.engine.schedules.list_fires(made.id, PAGE)
    assert fire.run is not None
    run = await stage.ended(fire.run)
    assert (fire.scheduled_for, run.spec.source, run.spec.session, run.result) == (
        START + 15 * MINUTE,
        Source.CRON,
        f"main:cron:{made.id}",
        "echo: wake",
    )
    found = await stage.engine.schedules.get_schedule(made.id)
    assert (found.next_at, found.last_run, found.last_status) == (START + 30 * MINUTE, run.id, "succeeded")


async def test_the_service_fires_by_itself_when_it_is_called(stage: Stage, clock: SteppedClock) -> None:
    made = await stage.engine.schedules.create_schedule(wanted("every 1m"))
    clock.forward(MINUTE)
    stage.engine._scheduler.wake()

    async with asyncio.timeout(PATIENCE):
        async for change in await stage.engine.runs.follow_changes(0):
            if (change.topic, change.state) == ("schedule", "fired"):
                break
    assert await outcomes(stage.engine, made.id) == ["fired"]


@pytest.mark.parametrize(
    ("misfire", "max_age", "fired", "missed"),
    [
        (Misfire.SKIP, None, 0, 3),
        (Misfire.ONCE, None, 1, 2),
        (Misfire.ONCE, 3600.0, 0, 3),
        (Misfire.ALL, None, 3, 0),
        (Misfire.ALL, 40 * 3600.0, 2, 1),
    ],
)
async def test_times_that_were_missed_go_by_the_policy_and_are_visible(
    stage: Stage, clock: SteppedClock, misfire: Misfire, max_age: float | None, fired: int, missed: int
) -> None:
    made = await stage.engine.schedules.create_schedule(wanted(misfire=misfire, max_age=max_age))
    clock.forward(3 * DAY)
    await tick(stage.engine)

    found = await outcomes(stage.engine, made.id)
    assert (found.count("fired"), found.count("missed")) == (fired, missed)
    assert (await stage.engine.schedules.get_schedule(made.id)).missed == missed


async def test_a_clock_that_is_set_back_a_day_fires_nothing_again(stage: Stage, clock: SteppedClock) -> None:
    made = await stage.engine.schedules.create_schedule(wanted("every 1h", misfire=Misfire.ALL))
    for _ in range(24):
        clock.forward(60 * MINUTE)
        await tick(stage.engine)
    clock.forward(-DAY)
    for _ in range(24):
        clock.forward(60 * MINUTE)
        await tick(stage.engine)
    await stage.engine.schedules.toggle_schedule(made.id, False)
    clock.forward(-DAY)
    await stage.engine.schedules.toggle_schedule(made.id, True)  # counts from now: times that have fired come again
    for _ in range(24):
        clock.forward(60 * MINUTE)
        await tick(stage.engine)

    assert await outcomes(stage.engine, made.id) == ["fired"] * 24


async def test_a_clock_that_is_set_forward_a_year_makes_up_for_one_time(stage: Stage, clock: SteppedClock) -> None:
    made = await stage.engine.schedules.create_schedule(wanted("* * * * *"))
    clock.forward(365 * DAY)
    await tick(stage.engine)

    found = await outcomes(stage.engine, made.id)
    assert (found[0], found.count("fired"), len(found) <= 101) == ("fired", 1, True)


async def test_two_engines_on_one_store_fire_each_time_once(tmp_path: Path, clock: SteppedClock) -> None:
    async with staged(tmp_path, clock=clock) as one, staged(tmp_path, clock=clock) as other:
        made = await one.engine.schedules.create_schedule(wanted("every 1m", misfire=Misfire.ALL))
        for _ in range(10):
            clock.forward(MINUTE)
            await asyncio.gather(tick(one.engine), tick(other.engine))

        assert await outcomes(one.engine, made.id) == ["fired"] * 10
        assert await one.store.schedules.next_fire_at() == START + 11 * MINUTE


async def test_a_process_that_steps_down_fires_no_more(stage: Stage, clock: SteppedClock) -> None:
    made = await stage.engine.schedules.create_schedule(wanted("every 1m"))
    await stage.engine.step_down()
    clock.forward(MINUTE)
    stage.engine._scheduler.wake()
    await asyncio.sleep(0.05)

    assert await outcomes(stage.engine, made.id) == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_gateway_that_dies_around_a_fire_fires_once(tmp_path: Path, clock: SteppedClock, when: str) -> None:
    """The transaction is all there is: dead before it, the next gateway fires; dead after it, it does not."""
    between = Dying(when)

    async with staged(tmp_path, clock=clock, wrap=between.around) as first:
        await first.engine._scheduler.stop_firing()  # else it might fire just before the tick
        made = await first.engine.schedules.create_schedule(wanted("every 1m", misfire=Misfire.ALL))
        clock.forward(MINUTE)
        with pytest.raises(Unavailable):
            await tick(first.engine)
    async with staged(tmp_path, clock=clock) as second:
        await tick(second.engine)
        await tick(second.engine)

        assert await outcomes(second.engine, made.id) == ["fired"]
        assert (
            len([run for run in await second.engine.runs.list_runs(_ALL, PAGE) if run.spec.source is Source.CRON]) == 1
        )


class Dying(Between):
    """Dies before or after the transaction that fires."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self._when = when

    async def perform(self, name: str, operation: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        if name != "schedules.fire":
            return await operation(*args, **kwargs)
        if self._when == "after":
            await operation(*args)
        raise Unavailable("dead")


async def test_failures_in_a_row_disable_it_and_it_says_why(tmp_path: Path, clock: SteppedClock) -> None:
    async def failing(turn: Turn) -> Any:
        raise AgentError("no key")
        yield

    async with staged(tmp_path, failing, clock=clock) as stage:
        made = await stage.engine.schedules.create_schedule(wanted("every 1m", max_failures=3))
        for _ in range(5):
            clock.forward(MINUTE)
            await tick(stage.engine)
            for fire in await stage.engine.schedules.list_fires(made.id, PAGE):
                await stage.ended(str(fire.run))

        found = await stage.engine.schedules.get_schedule(made.id)
        assert (found.enabled, found.failures, len(await outcomes(stage.engine, made.id))) == (False, 3, 3)
        assert found.reason == "it failed 3 times in a row; last: no key"
        again = await stage.engine.schedules.toggle_schedule(made.id)
        assert (again.enabled, again.failures, again.reason) == (True, 0, None)


async def test_a_success_ends_the_row_of_failures(tmp_path: Path, clock: SteppedClock) -> None:
    async def now_and_then(turn: Turn) -> Any:
        if turn.input == "fail":
            raise AgentError("no")
        return
        yield

    async with staged(tmp_path, now_and_then, clock=clock) as stage:
        made = await stage.engine.schedules.create_schedule(wanted(max_failures=3))
        for word in ("fail", "fail", "fine", "fail"):
            await stage.engine.schedules.edit_schedule(made.id, {"input": word})
            await stage.ended((await stage.engine.schedules.trigger_schedule(made.id)).run)

        found = await stage.engine.schedules.get_schedule(made.id)
        assert (found.enabled, found.failures) == (True, 1)


async def test_a_schedule_that_fires_faster_than_its_runs_end_does_not_fill_the_queue(
    tmp_path: Path, clock: SteppedClock
) -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def working(turn: Turn) -> Any:
        begun.set()
        await done.wait()
        return
        yield

    async with staged(tmp_path, working, clock=clock) as stage:
        made = [await stage.engine.schedules.create_schedule(wanted("every 1s")) for _ in range(5)]
        for _ in range(30):
            clock.forward(1000)
            await tick(stage.engine)
            async with asyncio.timeout(PATIENCE):
                await begun.wait()
        waiting = await stage.engine.runs.list_runs(RunFilter(statuses=(Status.QUEUED,)), PAGE)
        found = [await stage.engine.schedules.get_schedule(one.id) for one in made]
        done.set()

        assert len(waiting) <= len(made)
        assert all(27 <= one.skipped <= 29 and one.skip_reason for one in found)


async def test_replace_stops_the_run_of_the_time_before(tmp_path: Path, clock: SteppedClock) -> None:
    async with staged(tmp_path, hanging, clock=clock) as stage:
        made = await stage.engine.schedules.create_schedule(wanted("every 1m", overlap=Overlap.REPLACE))
        clock.forward(MINUTE)
        await tick(stage.engine)
        (first,) = await stage.engine.schedules.list_fires(made.id, PAGE)
        await stage.said(await stage.store.runs.get(str(first.run)))
        await stage.engine.schedules.edit_schedule(made.id, {"input": "the next one"})
        clock.forward(MINUTE)
        await tick(stage.engine)
        (second, _) = await stage.engine.schedules.list_fires(made.id, PAGE)

        assert (await stage.ended(str(first.run))).status == "cancelled"
        assert (await stage.ended(str(second.run))).status == "succeeded"


async def test_a_full_queue_keeps_the_time_for_later(tmp_path: Path, clock: SteppedClock) -> None:
    between = Between()

    async with staged(tmp_path, clock=clock, wrap=between.around) as stage:
        await stage.engine._scheduler.stop_firing()  # it would fire by itself, between
        made = await stage.engine.schedules.create_schedule(wanted("every 1m"))
        clock.forward(MINUTE)
        between.refuse["schedules.fire"] = [Unavailable("full")]
        with pytest.raises(Unavailable):
            await tick(stage.engine)
        await tick(stage.engine)

        assert await outcomes(stage.engine, made.id) == ["fired"]


async def test_a_moment_comes_once_and_is_over(stage: Stage, clock: SteppedClock) -> None:
    made = await stage.engine.schedules.create_schedule(wanted("2023-11-14T23:00:00Z"))
    clock.forward(60 * MINUTE)
    await tick(stage.engine)

    found = await stage.engine.schedules.get_schedule(made.id)
    assert (found.enabled, found.next_at, found.reason) == (False, None, "its time has passed")
    with pytest.raises(Conflict):
        await stage.engine.schedules.toggle_schedule(made.id, True)


@pytest.mark.parametrize("when", ["while it runs", "after it ran"])
async def test_a_single_time_that_is_given_another_time_fires_again(
    tmp_path: Path, clock: SteppedClock, when: str
) -> None:
    done = asyncio.Event()

    async def working(turn: Turn) -> Any:
        await done.wait()
        return
        yield

    async with staged(tmp_path, working, clock=clock) as stage:
        made = await stage.engine.schedules.create_schedule(wanted("2023-11-14T23:00:00Z"))
        clock.forward(60 * MINUTE)
        await tick(stage.engine)
        (first,) = await stage.engine.schedules.list_fires(made.id, PAGE)
        if when == "after it ran":
            done.set()
            await stage.ended(str(first.run))
        edited = await stage.engine.schedules.edit_schedule(made.id, {"expression": "2023-11-15T00:00:00Z"})
        done.set()
        clock.forward(60 * MINUTE)
        await tick(stage.engine)

        assert (edited.enabled, edited.reason, edited.next_at) == (True, None, START - 20_000 + 107 * MINUTE)
        assert await outcomes(stage.engine, made.id) == ["fired", "fired"]


@pytest.mark.parametrize(
    ("changes", "enabled"),
    [
        ({"max_failures": 0}, True),
        ({"max_failures": 4}, True),
        ({"max_failures": 3}, False),
        ({"agent": "other"}, True),
        ({"input": "try this"}, True),
        ({"session": "new"}, True),
        ({"timeout": 60.0}, True),
        ({"name": "renamed"}, False),
        ({"expression": "every 2m"}, False),
    ],
)
async def test_an_edit_that_removes_the_reason_of_its_disabling_enables_it_again(
    tmp_path: Path, clock: SteppedClock, changes: dict[str, Any], enabled: bool
) -> None:
    async def failing(turn: Turn) -> Any:
        raise AgentError("no key")
        yield

    async with staged(tmp_path, failing, clock=clock, agents={"main": {}, "other": {}}) as stage:
        made = await stage.engine.schedules.create_schedule(wanted("every 1m", max_failures=3))
        for _ in range(3):
            await stage.ended((await stage.engine.schedules.trigger_schedule(made.id)).run)
        disabled = await stage.engine.schedules.get_schedule(made.id)
        clock.forward(60 * MINUTE)
        edited = await stage.engine.schedules.edit_schedule(made.id, changes)

    assert not disabled.enabled
    assert (edited.enabled, edited.reason is None) == (enabled, enabled)
    if enabled:
        assert (edited.failures, edited.next_at) == (0, START + 61 * MINUTE), "times while it was disabled are past"


async def test_an_edit_leaves_a_schedule_disabled_that_somebody_disabled(stage: Stage, clock: SteppedClock) -> None:
    by_hand = await stage.engine.schedules.create_schedule(wanted(), enabled=False)
    over = await stage.engine.schedules.create_schedule(wanted("2023-11-14T23:00:00Z"))
    clock.forward(60 * MINUTE)
    await tick(stage.engine)
    at_once = await stage.engine.schedules.edit_schedule(over.id, {"expression": "2024-11-14T23:00:00Z"}, False)
    later = await stage.engine.schedules.edit_schedule(over.id, {"expression": "2025-11-14T23:00:00Z"})

    edited = await stage.engine.schedules.edit_schedule(by_hand.id, {"expression": "every 1m", "max_failures": 0})
    assert [one.enabled for one in (edited, at_once, later)] == [False] * 3


async def test_a_schedule_that_disables_itself_during_an_edit_stays_disabled(
    tmp_path: Path, clock: SteppedClock
) -> None:
    async def failing(turn: Turn) -> Any:
        raise AgentError("no key")
        yield

    class FailingMeanwhile(Between):
        stage: Stage

        async def perform(self, name: str, operation: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
            if name == "schedules.replace" and self.calls.get(name, 0) == 0:
                self.calls[name] = 1
                await self.stage.ended((await self.stage.engine.schedules.trigger_schedule(args[0].id)).run)
            return await operation(*args, **kwargs)

    between = FailingMeanwhile()

    async with staged(tmp_path, failing, clock=clock, wrap=between.around) as stage:
        between.stage = stage
        made = await stage.engine.schedules.create_schedule(wanted("every 1m", max_failures=1))
        edited = await stage.engine.schedules.edit_schedule(made.id, {"name": "renamed"})

    assert (edited.spec.name, edited.enabled, edited.failures) == ("renamed", False, 1)


async def test_a_trigger_is_a_run_that_leaves_the_next_time_as_it_is(stage: Stage, clock: SteppedClock) -> None:
    made = await stage.engine.schedules.create_schedule(wanted("every 1m"), enabled=False)
    clock.now = START + MINUTE
    await stage.engine.schedules.trigger_schedule(made.id)
    await stage.engine.schedules.trigger_schedule(made.id)
    await stage.engine.schedules.toggle_schedule(made.id, True)
    clock.forward(MINUTE)
    await tick(stage.engine)

    assert await outcomes(stage.engine, made.id) == ["fired", "triggered", "triggered"]


async def test_fresh_gives_a_session_each_time_and_jitter_a_later_begin(stage: Stage, clock: SteppedClock) -> None:
    made = await stage.engine.schedules.create_schedule(
        wanted("every 1m", fresh=True, jitter=30.0, misfire=Misfire.ALL)
    )
    clock.forward(2 * MINUTE)
    await tick(stage.engine)

    runs = [
        await stage.store.runs.get(str(fire.run)) for fire in await stage.engine.schedules.list_fires(made.id, PAGE)
    ]
    assert len({run.spec.session for run in runs}) == 2
    for run, minute in zip(runs, (2, 1), strict=True):
        assert run.spec.run_at is not None
        assert 0 <= run.spec.run_at - (START + minute * MINUTE) <= 30_000


async def test_an_id_may_be_given_once(stage: Stage) -> None:
    await stage.engine.schedules.create_schedule(wanted(), "mine")

    with pytest.raises(Conflict, match="already"):
        await stage.engine.schedules.create_schedule(wanted(), "mine")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"expression": "30 2 30 2 *"}, InvalidRequest),
        ({"expression": "2001-01-01T00:00:00Z"}, InvalidRequest),
        ({"timezone": "Nowhere/Land"}, InvalidRequest),
        ({"agent": "nobody"}, AgentNotFound),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_kept(
    stage: Stage, fields: dict[str, Any], error: type[Exception]
) -> None:
    kept = await stage.engine.schedules.create_schedule(wanted())
    with pytest.raises(error):
        await stage.engine.schedules.create_schedule(wanted(**{"expression": NINE, **fields}))
    with pytest.raises(error):
        await stage.engine.schedules.edit_schedule(kept.id, fields)

    assert await stage.engine.schedules.list_schedules(PAGE) == [kept]


async def test_what_is_deleted_is_gone(stage: Stage, clock: SteppedClock) -> None:
    made = await stage.engine.schedules.create_schedule(wanted("every 1m"))
    await stage.engine.schedules.delete_schedule(made.id)
    clock.forward(MINUTE)
    await tick(stage.engine)

    with pytest.raises(ScheduleNotFound):
        await stage.engine.schedules.get_schedule(made.id)
    assert await stage.engine.runs.list_runs(_ALL, PAGE) == []


async def test_an_interval_and_a_single_time_go_on_without_their_zone(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    interval = await stage.engine.schedules.create_schedule(wanted("every 1h", timezone="Europe/Berlin"))
    single = await stage.engine.schedules.create_schedule(wanted("2023-11-14T23:00:00Z", timezone="Europe/Berlin"))
    known = cron.find_time_zone
    monkeypatch.setattr(cron, "find_time_zone", lambda name: known("Mars/Olympus" if name != "UTC" else name))
    clock.forward(60 * MINUTE)
    await tick(stage.engine)
    edited = await stage.engine.schedules.edit_schedule(interval.id, {"input": "something else"})

    assert await outcomes(stage.engine, interval.id) == await outcomes(stage.engine, single.id) == ["fired"]
    assert (edited.enabled, edited.next_at) == (True, START + 120 * MINUTE)


@pytest.mark.parametrize("expression", ["every 1h", "2029-11-14T23:00:00Z"])
async def test_an_unknown_zone_is_refused_even_where_the_times_need_none(stage: Stage, expression: str) -> None:
    kept = await stage.engine.schedules.create_schedule(wanted(expression))
    with pytest.raises(InvalidRequest, match="Nowhere/Land"):
        await stage.engine.schedules.create_schedule(wanted(expression, timezone="Nowhere/Land"))
    with pytest.raises(InvalidRequest, match="Nowhere/Land"):
        await stage.engine.schedules.edit_schedule(kept.id, {"timezone": "Nowhere/Land"})
    with pytest.raises(InvalidRequest, match="Nowhere/Land"):
        stage.engine.schedules.preview_times(expression, "Nowhere/Land", 1)


async def test_a_schedule_whose_zone_has_gone_is_disabled_and_keeps_no_other_from_firing(
    stage: Stage, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a move to a machine without that zone, or an update of its zones."""
    lost = await stage.engine.schedules.create_schedule(wanted("0 * * * *", timezone="Europe/Berlin"))
    other = await stage.engine.schedules.create_schedule(wanted("0 * * * *"))
    known = cron.find_time_zone

    def zone(name: str) -> Any:
        return known("Mars/Olympus" if name == "Europe/Berlin" else name)

    monkeypatch.setattr(cron, "find_time_zone", zone)
    clock.forward(60 * MINUTE)
    await tick(stage.engine)

    found = await stage.engine.schedules.get_schedule(lost.id)
    assert await outcomes(stage.engine, other.id) == ["fired"]
    assert await outcomes(stage.engine, lost.id) == ["refused"]
    assert not found.enabled
    assert "there is no time zone 'Mars/Olympus'" in (found.reason or "")


class FiringInVain(Between):
    """A store whose readers still see a schedule as due after it was fired."""

    async def perform(self, name: str, operation: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        found = await super().perform(name, operation, *args, **kwargs)
        if name == "schedules.list_due":
            self.seen = found or getattr(self, "seen", [])
            return self.seen
        return found


async def test_fires_that_change_nothing_are_not_repeated_at_once(tmp_path: Path, clock: SteppedClock) -> None:
    async with staged(tmp_path, clock=clock, wrap=FiringInVain) as stage:
        await stage.engine.schedules.create_schedule(wanted("every 15m"))
        await stage.engine._scheduler.stop_firing()
        clock.forward(15 * MINUTE)

        pause = await stage.engine._scheduler._fire_due()

        assert pause == RETRY_SECONDS
        assert stage.engine._store.calls["schedules.fire"] <= 2
