"""Every store keeps the contract: schedules, their times, and the outcome of each time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.domain.agent import SessionMode
from gateway.domain.budget import Budget
from gateway.domain.delivery import Target
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.queue import AdmissionRules
from gateway.domain.run import AttemptResult, Move, Outcome, Run, RunSpec, Source, Status
from gateway.domain.schedule import (
    MAX_LISTED_SKIPS,
    FireOutcome,
    FirePlan,
    FireRecord,
    Misfire,
    Overlap,
    PlannedRun,
    Schedule,
    ScheduleSpec,
)
from gateway.errors import AgentBusy, Conflict, ScheduleNotFound, Unavailable
from tests.contracts.stores import ALL, PAGE, START, Shelf, SteppedClock, Told, claim_one, finish, key, rules, spec

MINUTE = 60_000
WORDS = ScheduleSpec(
    name="inbox",
    expression="0 9 * * 1-5",
    timezone="Europe/Berlin",
    input="wake",
    agent="main",
    session="mornings",
    fresh=True,
    model="m/1",
    timeout=5.0,
    deliver=(Target(kind="telegram", address="1", format="chat"),),
    labels={"a": "b"},
    misfire=Misfire.ALL,
    overlap=Overlap.REPLACE,
    max_age=60.0,
    jitter=1.5,
    max_failures=3,
    budget=Budget(runs=1),
)


def made(id_: str = "s", next_at: int | None = START + MINUTE, **fields: Any) -> Schedule:
    words = ScheduleSpec(expression="every 1m", input="wake", **fields)
    return Schedule(id=id_, spec=words, anchor=START, next_at=next_at, created=START, updated=START)


def work(schedule: str = "s", session: str = "main:cron:s") -> RunSpec:
    return msgspec.structs.replace(spec(session, labels={"schedule": schedule}), source=Source.CRON)


def firing(schedule: Schedule, *times: int, admission: AdmissionRules | None = None, **fields: Any) -> FirePlan:
    """Return a plan to run these times; the next time is a minute after the schedule's own."""
    assert schedule.next_at is not None
    planned: dict[str, Any] = {"next_at": schedule.next_at + MINUTE, **fields}
    return FirePlan(
        schedule=schedule,
        runs=tuple(PlannedRun(time=time, spec=work(schedule.id), admission=admission) for time in times),
        **planned,
    )


async def told_fires(store: Store, schedule: str = "s") -> list[tuple[int, str]]:
    return [
        (fire.scheduled_for - START, str(fire.outcome)) for fire in await store.schedules.list_fires(schedule, PAGE)
    ]


# --- storing ----------------------------------------------------------------------------------


async def test_a_schedule_is_stored_as_it_was_created(shelf: Shelf) -> None:
    store = shelf.open()
    wanted = Schedule(
        id="s", spec=WORDS, enabled=False, reason="why", anchor=1, next_at=2, created=START, updated=START
    )
    kept = await store.schedules.create(wanted)
    await store.close()

    found = await shelf.open().schedules.get("s")

    assert found == kept == msgspec.structs.replace(wanted, seq=found.seq)


async def test_a_schedule_id_can_be_used_once(store: Store) -> None:
    await store.schedules.create(made())

    with pytest.raises(Conflict, match="'s' already"):
        await store.schedules.create(made())


async def test_the_same_key_makes_one_schedule(store: Store) -> None:
    first = await store.schedules.create(made("a"), key())
    again = await store.schedules.create(made("b"), key())
    with pytest.raises(Conflict):
        await store.schedules.create(made("c"), key(digest="other"))

    assert (again, [one.id for one in await store.schedules.list(PAGE)]) == (first, ["a"])


async def test_schedules_are_listed_in_pages_the_newest_first(store: Store) -> None:
    for name in "abc":
        await store.schedules.create(made(name))
    first = await store.schedules.list(Page(limit=2))
    rest = await store.schedules.list(Page(limit=2, before=first[-1].seq))

    assert [one.id for one in (*first, *rest)] == ["c", "b", "a"]


async def test_an_unknown_schedule_is_reported(store: Store) -> None:
    for asking in (
        store.schedules.get("x"),
        store.schedules.delete("x"),
        store.schedules.replace(made("x")),
        store.schedules.trigger("x", work("x")),
    ):
        with pytest.raises(ScheduleNotFound, match="no schedule 'x'"):
            await asking
    assert await store.runs.list(ALL, PAGE) == []


async def test_an_edit_increments_the_revision_and_one_of_two_edits_wins(store: Store, clock: SteppedClock) -> None:
    found = await store.schedules.create(made())
    clock.forward(5)
    renamed = msgspec.structs.replace(found, spec=msgspec.structs.replace(found.spec, name="new"), next_at=START + 7)
    kept = await store.schedules.replace(renamed)
    late = await store.schedules.replace(msgspec.structs.replace(found, enabled=False))

    assert kept is not None
    assert (kept.spec.name, kept.next_at, kept.revision, kept.updated) == ("new", START + 7, 2, START + 5)
    assert (late, await store.schedules.get("s")) == (None, kept)


async def test_deleting_a_schedule_removes_its_fires_and_keeps_its_runs(store: Store) -> None:
    schedule = await store.schedules.create(made())
    (fired,) = await store.schedules.fire(firing(schedule, START + MINUTE))
    await store.schedules.delete("s")
    await store.schedules.create(made())

    assert (await told_fires(store), (await store.runs.get(fired.run.id)).status) == ([], Status.QUEUED)


async def test_changes_of_schedules_are_published(store: Store) -> None:
    told = Told(store)
    schedule = await store.schedules.create(made())
    edited = await store.schedules.replace(schedule)
    assert edited is not None
    await store.schedules.fire(firing(edited, START + MINUTE))
    await store.schedules.trigger("s", work(session="main:cron:t"))
    await store.schedules.delete("s")

    states = [change.state for change in told.changes if change.topic == "schedule"]
    assert states == ["created", "edited", "fired", "triggered", "deleted"]


# --- times ------------------------------------------------------------------------------------


async def test_the_next_time_is_the_earliest_of_those_that_are_enabled(store: Store) -> None:
    none = await store.schedules.next_fire_at()
    for name, next_at in (("late", START + 30), ("soon", START + 20), ("over", None)):
        await store.schedules.create(made(name, next_at))
    await store.schedules.create(msgspec.structs.replace(made("off", START + 10), enabled=False))

    assert (none, await store.schedules.next_fire_at()) == (None, START + 20)
    assert [one.id for one in await store.schedules.list_due(START + 19, 10)] == []
    assert [one.id for one in await store.schedules.list_due(START + 30, 10)] == ["soon", "late"]
    assert [one.id for one in await store.schedules.list_due(START + 30, 1)] == ["soon"]


async def test_a_fire_its_run_and_the_next_time_are_one_transaction(store: Store, clock: SteppedClock) -> None:
    schedule = await store.schedules.create(made())
    clock.forward(MINUTE + 3)
    (fired,) = await store.schedules.fire(firing(schedule, START + MINUTE))

    found = await store.schedules.get("s")
    assert (found.next_at, found.last_at, found.last_run, found.last_status) == (
        START + 2 * MINUTE,
        START + MINUTE + 3,
        fired.run.id,
        "queued",
    )
    assert await store.schedules.list_fires("s", PAGE) == [
        FireRecord(
            scheduled_for=START + MINUTE,
            at=START + MINUTE + 3,
            outcome=FireOutcome.FIRED,
            run=fired.run.id,
            status="queued",
        )
    ]


async def test_a_time_becomes_one_run_whoever_fires_it_and_how_often(shelf: Shelf) -> None:
    one, two = shelf.open(), shelf.open()
    planned = firing(await one.schedules.create(made()), START + MINUTE)
    made_ = await asyncio.gather(*(store.schedules.fire(planned) for store in (one, two, one, two)))

    assert sorted(len(runs) for runs in made_) == [0, 0, 0, 1]
    assert len(await one.runs.list(ALL, PAGE)) == 1


async def test_a_time_that_was_fired_before_an_edit_does_not_fire_again(store: Store) -> None:
    """A schedule is set back to a time that was fired: the fire exists, and no second run is created."""
    schedule = await store.schedules.create(made())
    await store.schedules.fire(firing(schedule, START + MINUTE))
    back = await store.schedules.replace(
        msgspec.structs.replace(await store.schedules.get("s"), next_at=START + MINUTE)
    )
    assert back is not None

    assert await store.schedules.fire(firing(back, START + MINUTE)) == []
    assert (await store.schedules.get("s")).next_at == START + 2 * MINUTE


@pytest.mark.parametrize("change", ["edited", "disabled", "deleted"])
async def test_a_plan_for_a_schedule_that_has_changed_does_nothing(store: Store, change: str) -> None:
    schedule = await store.schedules.create(made())
    if change == "deleted":
        await store.schedules.delete("s")
    else:
        assert await store.schedules.replace(msgspec.structs.replace(schedule, enabled=change == "edited"))

    assert await store.schedules.fire(firing(schedule, START + MINUTE)) == []
    assert await store.runs.list(ALL, PAGE) == []


async def test_missed_times_are_recorded_and_counted(store: Store) -> None:
    schedule = await store.schedules.create(made())
    missed = (START + MINUTE, START + 2 * MINUTE)
    await store.schedules.fire(firing(schedule, START + 3 * MINUTE, missed_times=missed, missed_count=40))

    assert (await store.schedules.get("s")).missed == 40
    assert await told_fires(store) == [(3 * MINUTE, "fired"), (2 * MINUTE, "missed"), (MINUTE, "missed")]


async def test_the_last_time_disables_a_schedule(store: Store) -> None:
    schedule = await store.schedules.create(made())
    await store.schedules.fire(firing(schedule, START + MINUTE, next_at=None))

    found = await store.schedules.get("s")
    assert (found.enabled, found.next_at, found.reason) == (False, None, "its time has passed")


async def test_a_full_queue_leaves_the_time_due(shelf: Shelf) -> None:
    store = shelf.open(queue_limit=1)
    await store.runs.accept(spec())
    schedule = await store.schedules.create(made())
    with pytest.raises(Unavailable):
        await store.schedules.fire(firing(schedule, START + MINUTE))

    assert (await store.schedules.get("s")).next_at == START + MINUTE
    assert await told_fires(store) == []


async def test_fires_are_listed_in_pages_the_newest_first(store: Store) -> None:
    schedule = await store.schedules.create(made())
    missed = tuple(START + number * MINUTE for number in range(1, 4))
    await store.schedules.fire(firing(schedule, missed_times=missed))
    first = await store.schedules.list_fires("s", Page(limit=2))
    rest = await store.schedules.list_fires("s", Page(limit=2, before=first[-1].scheduled_for))

    assert [fire.scheduled_for for fire in (*first, *rest)] == list(reversed(missed))


async def test_the_last_fires_of_all_schedules_are_listed_the_newest_schedule_first(store: Store) -> None:
    for id_ in ("a", "b", "c"):
        due = await store.schedules.create(made(id_))
        if id_ == "b":
            continue
        missed = tuple(START + MINUTE * number for number in (1, 2, 3))
        await store.schedules.fire(FirePlan(schedule=due, missed_times=missed, missed_count=3, next_at=START * 2))

    first = await store.schedules.list_last_fires(Page(limit=2), 2)
    rest = await store.schedules.list_last_fires(Page(limit=2, before=first[-1].seq), 2)

    told = [(job.id, [(fire.scheduled_for - START) // MINUTE for fire in job.fires]) for job in [*first, *rest]]
    assert told == [("c", [2, 3]), ("b", []), ("a", [2, 3])]
    assert first[0].fires == tuple(await store.schedules.list_fires("c", Page(limit=2)))[::-1]


async def test_a_page_of_last_fires_ends_after_so_many_bytes(store: Store) -> None:
    for id_ in ("a", "b", "c"):
        due = await store.schedules.create(made(id_))
        await store.schedules.fire(FirePlan(schedule=due, missed_times=(START,), missed_count=1, next_at=START * 2))

    assert [job.id for job in await store.schedules.list_last_fires(Page(max_bytes=1), 30)] == ["c", "b"]


async def test_old_fires_are_pruned(store: Store, clock: SteppedClock) -> None:
    schedule = await store.schedules.create(made())
    await store.schedules.fire(firing(schedule, missed_times=(START,)))
    clock.forward(30 * 24 * 60 * MINUTE)
    await store.retention.prune_expired()
    kept = await told_fires(store)
    clock.forward(1)
    await store.retention.prune_expired()

    assert (kept, await told_fires(store)) == ([(0, "missed")], [])


# --- the agent's rules ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("admission", "reason"),
    [
        (rules(SessionMode.REJECT), "the session main:cron:s is busy."),
        (AdmissionRules(slots=1, stored=True), "the agent 'main' was deleted."),
    ],
)
async def test_a_time_whose_run_is_refused_is_recorded_with_the_reason(
    store: Store, admission: AdmissionRules, reason: str
) -> None:
    await store.runs.accept(spec("main:cron:s"))
    schedule = await store.schedules.create(made())
    fired = await store.schedules.fire(firing(schedule, START + MINUTE, admission=admission))

    found = await store.schedules.get("s")
    (fire,) = await store.schedules.list_fires("s", PAGE)
    assert (fired, len(await store.runs.list(ALL, PAGE))) == ([], 1)
    assert (fire.outcome, fire.run, (fire.error or "").startswith(reason)) == (FireOutcome.REFUSED, None, True)
    assert (found.failures, found.next_at, found.last_run) == (1, START + 2 * MINUTE, None)


async def test_a_refused_time_is_not_tried_again(store: Store) -> None:
    blocking = (await store.runs.accept(spec("main:cron:s"))).run
    schedule = await store.schedules.create(made())
    await store.schedules.fire(firing(schedule, START + MINUTE, admission=rules(SessionMode.REJECT)))
    await store.runs.cancel(blocking.id)
    back = await store.schedules.replace(
        msgspec.structs.replace(await store.schedules.get("s"), next_at=START + MINUTE)
    )
    assert back is not None

    assert await store.schedules.fire(firing(back, START + MINUTE, admission=rules(SessionMode.REJECT))) == []
    assert await told_fires(store) == [(MINUTE, "refused")]


async def test_a_refused_run_leaves_the_other_times_of_its_plan_as_they_are(store: Store) -> None:
    schedule = await store.schedules.create(made(overlap=Overlap.QUEUE))
    times = [START + number * MINUTE for number in (1, 2)]
    fired = await store.schedules.fire(firing(schedule, *times, admission=rules(SessionMode.REJECT)))

    assert len(fired) == 1
    assert await told_fires(store) == [(2 * MINUTE, "refused"), (MINUTE, "fired")]


async def test_so_many_refused_times_in_a_row_disable_the_schedule(store: Store) -> None:
    await store.runs.accept(spec("main:cron:s"))
    schedule = await store.schedules.create(made(max_failures=1))
    await store.schedules.fire(firing(schedule, START + MINUTE, admission=rules(SessionMode.REJECT)))

    found = await store.schedules.get("s")
    assert found.enabled is False
    assert (found.reason or "").startswith("it failed 1 times in a row; last: the session main:cron:s is busy.")


async def test_a_schedule_that_is_disabled_by_a_refusal_refuses_no_other_time_of_its_plan(store: Store) -> None:
    await store.runs.accept(spec("main:cron:s"))
    schedule = await store.schedules.create(made(max_failures=2))
    times = [START + number * MINUTE for number in range(1, 5)]
    await store.schedules.fire(firing(schedule, *times, admission=rules(SessionMode.REJECT)))

    found = await store.schedules.get("s")
    assert await told_fires(store) == [(2 * MINUTE, "refused"), (MINUTE, "refused")]
    assert (found.enabled, found.failures) == (False, 2)
    assert (found.reason or "").startswith("it failed 2 times in a row; last: the session main:cron:s is busy.")


async def test_a_time_can_interrupt_what_runs_in_its_session(store: Store) -> None:
    await store.runs.accept(spec("main:cron:s"))
    running = await claim_one(store)
    schedule = await store.schedules.create(made())
    (fired,) = await store.schedules.fire(firing(schedule, START + MINUTE, admission=rules(SessionMode.INTERRUPT)))

    assert fired.interrupted_runs == (running.id,)
    assert (await store.runs.get(running.id)).cancel_requested


async def test_a_trigger_that_is_refused_leaves_nothing(store: Store) -> None:
    await store.runs.accept(spec("main:cron:s"))
    await store.schedules.create(made())
    with pytest.raises(AgentBusy):
        await store.schedules.trigger("s", work(), key(), rules(SessionMode.REJECT))

    assert (await told_fires(store), (await store.schedules.get("s")).failures) == ([], 0)


# --- triggering -------------------------------------------------------------------------------


async def test_a_trigger_makes_a_run_in_addition_to_the_times(store: Store) -> None:
    schedule = await store.schedules.create(msgspec.structs.replace(made(), enabled=False))
    accepted = await store.schedules.trigger("s", work())

    found = await store.schedules.get("s")
    (fire,) = await store.schedules.list_fires("s", PAGE)
    assert (found.next_at, found.last_run, found.enabled) == (schedule.next_at, accepted.run.id, False)
    assert (fire.outcome, fire.run) == (FireOutcome.TRIGGERED, accepted.run.id)


async def test_triggers_never_take_the_place_of_a_time(store: Store, clock: SteppedClock) -> None:
    schedule = await store.schedules.create(made())
    clock.forward(MINUTE)
    for number in range(3):
        await store.schedules.trigger("s", work(session=f"main:cron:{number}"))
    fired = await store.schedules.fire(firing(schedule, START + MINUTE))

    assert len(fired) == 1
    assert [outcome for _, outcome in await told_fires(store)] == ["triggered", "triggered", "triggered", "fired"]


# --- overlap ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlap", "started", "open_runs"),
    [
        (None, 2, ["running", "queued"]),
        (Overlap.QUEUE_ONE, 2, ["running", "queued"]),
        (Overlap.QUEUE, 5, ["running", "queued", "queued", "queued", "queued"]),
        (Overlap.SKIP, 1, ["running"]),
        (Overlap.REPLACE, 5, ["running", "queued"]),
    ],
)
async def test_what_becomes_of_a_time_whose_earlier_runs_have_not_ended_goes_by_the_policy(
    store: Store, overlap: Overlap | None, started: int, open_runs: list[str]
) -> None:
    schedule = await store.schedules.create(made(overlap=overlap))
    fired = list(await store.schedules.fire(firing(schedule, START + MINUTE)))
    await claim_one(store)
    for number in range(2, 6):
        due = await store.schedules.get("s")
        fired += await store.schedules.fire(firing(due, START + number * MINUTE))

    left = [run.status for run in reversed(await store.runs.list(ALL, PAGE)) if not run.status.is_final]
    found = await store.schedules.get("s")
    assert (len(fired), left, found.skipped, found.failures) == (started, open_runs, 5 - started, 0)
    outcomes = [outcome for _, outcome in await told_fires(store)]
    assert (outcomes.count("fired"), outcomes.count("skipped")) == (started, 5 - started)
    if overlap is Overlap.REPLACE:
        assert {run for accepted in fired for run in accepted.interrupted_runs} == {fired[0].run.id}
        assert await store.runs.find_cancel_requested([fired[0].run.id]) == [fired[0].run.id]


async def test_a_skipped_time_says_why(store: Store) -> None:
    schedule = await store.schedules.create(made())
    await store.schedules.fire(firing(schedule, START + MINUTE, START + 2 * MINUTE))

    (skipped, _) = await store.schedules.list_fires("s", PAGE)
    why = "an earlier run of this schedule is still waiting"
    assert (skipped.error, (await store.schedules.get("s")).skip_reason) == (why, why)


async def test_runs_of_others_and_runs_that_somebody_asked_for_do_not_count_as_earlier_runs(store: Store) -> None:
    other = await store.schedules.create(made(id_="other"))
    await store.schedules.fire(firing(other, START + MINUTE))
    await store.runs.accept(spec(labels={"schedule": "s"}))
    schedule = await store.schedules.create(made(overlap=Overlap.SKIP))
    await store.schedules.trigger("s", work())

    assert len(await store.schedules.fire(firing(schedule, START + MINUTE))) == 1


async def test_of_times_skipped_one_after_the_other_the_first_and_the_newest_are_listed(store: Store) -> None:
    schedule = await store.schedules.create(made())
    times = [START + number * 1000 for number in range(MAX_LISTED_SKIPS + 51)]
    await store.schedules.fire(firing(schedule, *times))

    found = [(time // 1000, outcome) for time, outcome in await told_fires(store)]
    newest = range(MAX_LISTED_SKIPS + 50, 50, -1)
    assert found == [*((number, "skipped") for number in newest), (1, "skipped"), (0, "fired")]
    assert (await store.schedules.get("s")).skipped == MAX_LISTED_SKIPS + 50


async def test_the_same_key_triggers_once(store: Store) -> None:
    await store.schedules.create(made())
    first, again = [await store.schedules.trigger("s", work(), key()) for _ in range(2)]

    assert (first.is_new, again.is_new, again.run.id) == (True, False, first.run.id)
    assert len(await told_fires(store)) == 1


# --- failures ---------------------------------------------------------------------------------


async def run_once(store: Store, verdict: AttemptResult | None = None) -> Run:
    await store.schedules.trigger("s", work())
    return await finish(store, await claim_one(store), verdict)


FAILED = AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="no model")
CANCELLED = AttemptResult(move=Move.CANCEL, outcome=Outcome.CANCELLED_BY_USER)


async def test_too_many_failures_in_a_row_disable_a_schedule_and_it_says_why(store: Store) -> None:
    await store.schedules.create(made(max_failures=2))
    await run_once(store, FAILED)
    once = await store.schedules.get("s")
    await run_once(store, FAILED)
    twice = await store.schedules.get("s")

    assert (once.enabled, once.failures, once.last_status) == (True, 1, "failed")
    assert (twice.enabled, twice.failures, twice.reason) == (False, 2, "it failed 2 times in a row; last: no model")


async def test_a_success_resets_the_count_and_a_cancellation_does_not_count(store: Store) -> None:
    await store.schedules.create(made(max_failures=2))
    for verdict in (FAILED, CANCELLED, None, FAILED):
        await run_once(store, verdict)

    found = await store.schedules.get("s")
    assert (found.enabled, found.failures) == (True, 1)


async def test_refused_times_are_recorded_and_count_as_failures(store: Store) -> None:
    schedule = await store.schedules.create(made(max_failures=1))
    await store.schedules.fire(firing(schedule, refused_times=(START + MINUTE,), error="the agent is gone"))

    found = await store.schedules.get("s")
    (fire,) = await store.schedules.list_fires("s", PAGE)
    assert (fire.outcome, fire.error, fire.run) == (FireOutcome.REFUSED, "the agent is gone", None)
    assert (found.enabled, found.reason) == (False, "it failed 1 times in a row; last: the agent is gone")


async def test_a_schedule_that_is_disabled_by_a_refused_time_refuses_no_other_one(store: Store) -> None:
    schedule = await store.schedules.create(made(max_failures=2))
    times = tuple(START + number * MINUTE for number in range(1, 5))
    await store.schedules.fire(firing(schedule, refused_times=times, error="the agent is gone"))

    found = await store.schedules.get("s")
    assert await told_fires(store) == [(2 * MINUTE, "refused"), (MINUTE, "refused")]
    assert (found.enabled, found.reason) == (False, "it failed 2 times in a row; last: the agent is gone")


async def test_without_a_limit_no_number_of_failures_disables_it(store: Store) -> None:
    await store.schedules.create(made())
    for _ in range(12):
        await run_once(store, FAILED)

    assert (await store.schedules.get("s")).enabled is True


async def test_the_end_of_a_run_whose_schedule_was_deleted_causes_no_error(store: Store) -> None:
    await store.schedules.create(made(max_failures=1))
    await store.schedules.trigger("s", work())
    run = await claim_one(store)
    await store.schedules.delete("s")

    assert (await finish(store, run, FAILED)).status is Status.FAILED
