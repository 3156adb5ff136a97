"""Every store keeps the contract: runs, from their acceptance to their end."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from gateway.domain.agent import SessionMode
from gateway.domain.event import End, Status, Text, Usage
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.run_store import Fenced
from gateway.domain.ports.store import Store
from gateway.domain.queue import RunLimits
from gateway.domain.run import AttemptResult, Move, OnInterrupt, Outcome, RunFilter, RunSpec, Source
from gateway.domain.run import Status as RunStatus
from gateway.domain.token import Scope, Ticket, Token
from gateway.errors import AgentBusy, Conflict, RunNotFound, Unavailable
from harness.waiting import PATIENCE
from tests.contracts.stores import (
    ALL,
    LIMITS,
    PAGE,
    START,
    Shelf,
    SteppedClock,
    Told,
    claim_one,
    done,
    finish,
    key,
    kinds_of,
    rules,
    running,
    spec,
)

DAY = 24 * 3600 * 1000

# --- accepting --------------------------------------------------------------------------------


async def test_an_accepted_run_is_queued_and_read_back_as_it_was_given(store: Store) -> None:
    given = spec(
        text="tell me\0 \N{CRAB}", model="m", timeout=5.5, labels={"a": "b"}, parent="p", priority=3, retry_of="r"
    )

    accepted = await store.runs.accept(given)

    found = await store.runs.get(accepted.run.id)
    assert found == accepted.run
    assert (found.spec, found.status, found.created, accepted.is_new) == (given, RunStatus.QUEUED, START, True)
    assert await kinds_of(store, found.id) == ["status"]


async def test_accepted_runs_survive_reopening_the_store(shelf: Shelf) -> None:
    first = shelf.open()
    accepted = await first.runs.accept(spec())
    await first.close()

    assert await shelf.open().runs.get(accepted.run.id) == accepted.run


async def test_a_full_queue_accepts_no_new_run_but_recognises_a_repeated_request(shelf: Shelf) -> None:
    store = shelf.open(queue_limit=1)
    taken = await store.runs.accept(spec(), key("k"))

    with pytest.raises(Unavailable):
        await store.runs.accept(spec())

    assert (await store.runs.accept(spec(), key("k"))).run == taken.run
    assert (await store.runs.count_totals(0)).queued == 1


# --- claiming ---------------------------------------------------------------------------------


async def test_a_claim_names_its_owner_and_raises_attempt_and_epoch(store: Store, clock: SteppedClock) -> None:
    await store.runs.accept(spec())
    clock.forward(10)

    run = await claim_one(store, "me")

    assert (run.owner, run.attempt, run.epoch, run.started) == ("me", 1, 1, START + 10)
    assert run == await store.runs.get(run.id)


async def test_nothing_is_claimed_twice(store: Store) -> None:
    await store.runs.accept(spec())

    claims = await asyncio.gather(*(store.runs.claim(f"owner-{n}", LIMITS) for n in range(20)))

    assert sum(map(len, claims)) == 1


async def test_an_agent_that_the_limits_do_not_name_gets_no_runs(store: Store) -> None:
    await store.runs.accept(spec("gone:test:a"))

    assert await store.runs.claim("owner", LIMITS) == []


async def test_the_limit_of_an_agent_counts_what_is_running_already(store: Store) -> None:
    limits = RunLimits(total=10, agents={"main": 2, "other": 10})
    for chat in "abcd":
        await store.runs.accept(spec(f"main:test:{chat}"))
    first = await store.runs.claim("owner", limits)
    second = await store.runs.claim("owner", limits)
    await finish(store, first[0])
    third = await store.runs.claim("owner", limits)

    assert [len(claimed) for claimed in (first, second, third)] == [2, 0, 1]


async def test_the_total_limit_holds_over_all_agents(store: Store) -> None:
    limits = RunLimits(total=3, agents={"main": 10, "other": 10})
    for chat in "abc":
        await store.runs.accept(spec(f"main:test:{chat}"))
        await store.runs.accept(spec(f"other:test:{chat}"))

    assert len(await store.runs.claim("owner", limits)) == 3
    assert await store.runs.claim("owner", limits) == []
    assert (await store.runs.count_totals(0)).running == 3


async def test_limits_hold_for_claims_at_the_same_time(store: Store) -> None:
    limits = RunLimits(total=3, agents={"main": 2, "other": 2})
    for number in range(10):
        await store.runs.accept(spec(f"main:test:{number}"))
        await store.runs.accept(spec(f"other:test:{number}"))

    claims = await asyncio.gather(*(store.runs.claim(f"owner-{n}", limits) for n in range(10)))

    assert sorted(map(len, claims)) == [0] * 9 + [3]


async def test_a_lower_limit_than_what_is_running_claims_nothing(store: Store) -> None:
    for chat in "abc":
        await store.runs.accept(spec(f"main:test:{chat}"))
    await store.runs.claim("owner", LIMITS)
    await store.runs.accept(spec("main:test:d"))

    assert await store.runs.claim("owner", RunLimits(total=1, agents={"main": 1})) == []


async def test_an_agent_with_a_long_queue_does_not_starve_another(store: Store) -> None:
    limits = RunLimits(total=1, agents={"main": 1, "other": 1})
    for number in range(5):
        await store.runs.accept(spec(f"main:test:{number}"))
    late = await store.runs.accept(spec("other:test:a"))
    for number in range(5, 50):
        await store.runs.accept(spec(f"main:test:{number}"))

    order: list[str] = []
    while late.run.id not in order:
        (run,) = await store.runs.claim("owner", limits)
        order.append(run.id)
        await finish(store, run)

    assert len(order) == 6


async def test_a_higher_priority_goes_first_and_equals_go_in_order(store: Store) -> None:
    order = [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)]
    for chat, priority in order:
        await store.runs.accept(spec(f"main:test:{chat}", priority=priority))

    claimed = [run for _ in order for run in await store.runs.claim("owner", RunLimits(total=5, agents={"main": 5}))]

    assert [run.spec.session[-1] for run in claimed] == ["b", "d", "a", "c", "e"]


# --- one run at a time in a session -----------------------------------------------------------


async def test_a_session_runs_one_run_at_a_time_in_order(store: Store) -> None:
    for text in ("one", "two", "three"):
        await store.runs.accept(spec(text=text))
    seen = []
    for _ in range(3):
        claimed = await store.runs.claim("owner", LIMITS)
        assert len(claimed) == 1
        assert await store.runs.claim("owner", LIMITS) == []
        seen.append(claimed[0].spec.input)
        await finish(store, claimed[0])

    assert seen == ["one", "two", "three"]


async def test_priority_does_not_overtake_within_a_session(store: Store) -> None:
    await store.runs.accept(spec(text="first"))
    await store.runs.accept(spec(text="urgent", priority=100))

    assert (await claim_one(store)).spec.input == "first"


async def test_a_requeued_run_stays_first_in_its_session(store: Store) -> None:
    run = await running(store, text="first")
    await store.runs.accept(spec(text="second"))

    await store.runs.requeue(run.id, run.epoch, "cut short")

    assert (await claim_one(store)).spec.input == "first"


async def test_a_cancelled_run_makes_way_for_the_next_of_its_session(store: Store) -> None:
    first = await store.runs.accept(spec(text="first"))
    middle = await store.runs.accept(spec(text="middle"))
    await store.runs.accept(spec(text="last"))
    await store.runs.cancel(middle.run.id)
    await store.runs.cancel(first.run.id)

    assert (await claim_one(store)).spec.input == "last"


async def test_ten_thousand_waiting_runs_of_one_session_do_not_slow_a_claim(store: Store) -> None:
    for _ in range(20):
        await asyncio.gather(*(store.runs.accept(spec()) for _ in range(500)))
    took = []
    for _ in range(50):
        began = time.perf_counter()
        await finish(store, await claim_one(store))
        took.append(time.perf_counter() - began)

    assert min(took) < 0.1  # about 1 ms on an idle machine; the others may have waited for a busy one


# --- delayed ----------------------------------------------------------------------------------


async def test_a_delayed_run_waits_for_its_time(store: Store, clock: SteppedClock) -> None:
    await store.runs.accept(spec(run_at=START + 1000))
    early = await store.runs.claim("owner", LIMITS)
    due = await store.runs.next_due_at()
    clock.forward(1000)
    late = await store.runs.claim("owner", LIMITS)

    assert (early, due, len(late), await store.runs.next_due_at()) == ([], START + 1000, 1, None)


async def test_a_start_time_in_the_past_means_now(store: Store) -> None:
    await store.runs.accept(spec(run_at=START - 1))

    assert await store.runs.next_due_at() is None
    await claim_one(store)


async def test_the_earliest_of_delayed_runs_is_due_next(store: Store) -> None:
    for delay in (3000, 1000, 2000):
        await store.runs.accept(spec(run_at=START + delay))

    assert await store.runs.next_due_at() == START + 1000


async def test_a_delayed_run_blocks_no_other_and_joins_its_session_when_due(store: Store, clock: SteppedClock) -> None:
    await store.runs.accept(spec(text="later", run_at=START + 1000))
    await store.runs.accept(spec(text="now"))
    now = await claim_one(store)
    clock.forward(1000)
    blocked = await store.runs.claim("owner", LIMITS)
    await finish(store, now)

    assert (now.spec.input, blocked) == ("now", [])
    assert (await claim_one(store)).spec.input == "later"


async def test_a_delayed_run_can_be_cancelled(store: Store) -> None:
    accepted = await store.runs.accept(spec(run_at=START + 1000))

    await store.runs.cancel(accepted.run.id)

    assert await store.runs.next_due_at() is None


# --- fencing ----------------------------------------------------------------------------------


async def test_an_attempt_that_lost_its_run_writes_nothing(store: Store) -> None:
    old = await running(store)
    await store.owners.rescue_runs("owner")
    new = await claim_one(store)
    told = Told(store)

    for write in (
        store.events.append(old.id, old.epoch, [Text(delta="zombie")]),
        store.runs.finish(old.id, old.epoch, done("zombie"), [Text(delta="zombie")]),
        store.runs.requeue(old.id, old.epoch, "zombie"),
        store.runs.save_backend_ref(old.id, old.epoch, "zombie"),
    ):
        with pytest.raises(Fenced):
            await write

    session = await store.sessions.find(old.spec.session)
    assert session is not None
    assert (await store.runs.get(old.id), session.backend_ref, told.calls) == (new, None, [])
    assert await kinds_of(store, old.id) == ["status"] * 4


async def test_an_ended_run_accepts_no_more_writes(store: Store) -> None:
    run = await running(store)
    ended = await finish(store, run)

    with pytest.raises(Fenced):
        await store.events.append(run.id, run.epoch, [Text(delta="late")])
    with pytest.raises(Fenced):
        await finish(store, run)

    assert await store.runs.get(run.id) == ended


# --- events -----------------------------------------------------------------------------------


async def test_events_are_numbered_without_gaps_and_read_from_any_point(store: Store) -> None:
    run = await running(store)
    for number in range(5):
        await store.events.append(run.id, run.epoch, [Text(delta=f"{number}"), Usage(input=number)])
    await finish(store, run, said=[Text(delta="last")])

    events = await store.events.read_after(run.id, 0, 1000)
    kinds = ["status", "status", *["text", "usage"] * 5, "text", "end"]
    assert await kinds_of(store, run.id) == kinds
    assert await store.events.read_after(run.id, 3, 2) == events[3:5]
    assert await store.events.read_after(run.id, len(events), 10) == []
    assert (await store.runs.get(run.id)).last_event == len(events)


async def test_the_end_is_the_last_event_and_says_how_it_ended(store: Store) -> None:
    run = await running(store)
    verdict = AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="broken")

    await finish(store, run, verdict)

    events = await store.events.read_after(run.id, 0, 100)
    assert events[-1].data == End(status="failed", outcome="agent_error", error="broken")
    assert [event.kind for event in events].count("end") == 1


async def test_an_unknown_run_has_no_events(store: Store) -> None:
    assert await store.events.read_after("nobody", 0, 10) == []


# --- ending -----------------------------------------------------------------------------------


async def test_a_finished_run_has_its_result_usage_and_times(store: Store, clock: SteppedClock) -> None:
    run = await running(store)
    clock.forward(500)

    ended = await finish(store, run, done("the answer", usage=Usage(input=3, output=4, cost=0.5)))

    assert ended == await store.runs.get(run.id)
    assert (ended.status, ended.outcome, ended.result) == (RunStatus.SUCCEEDED, Outcome.COMPLETED, "the answer")
    assert (ended.usage, ended.finished, ended.owner) == (Usage(input=3, output=4, cost=0.5), START + 500, None)


async def test_cancelling_a_queued_run_ends_it_at_once(store: Store) -> None:
    accepted = await store.runs.accept(spec())

    ended = await store.runs.cancel(accepted.run.id)

    assert (ended.status, ended.outcome) == (RunStatus.CANCELLED, Outcome.CANCELLED_BY_USER)
    assert await store.runs.claim("owner", LIMITS) == []
    with pytest.raises(Conflict):
        await store.runs.cancel(accepted.run.id)


async def test_cancelling_a_running_run_flags_it_for_its_owner(store: Store) -> None:
    run = await running(store)

    later = await running(store, session="main:test:b")
    flagged = await store.runs.cancel(run.id)

    assert (flagged.status, flagged.cancel_requested) == (RunStatus.RUNNING, True)
    assert not (await store.runs.get(later.id)).cancel_requested


async def test_a_run_that_was_asked_to_stop_is_cancelled_when_it_is_requeued(store: Store) -> None:
    runs = [await running(store, session=f"main:test:{chat}") for chat in "ab"]
    for run in runs:
        await store.runs.cancel(run.id)

    given_back = await store.runs.requeue(runs[0].id, runs[0].epoch, "cut short")
    (rescued,) = await store.owners.rescue_runs("owner")

    assert {given_back.status, rescued.status} == {RunStatus.CANCELLED}
    assert {given_back.outcome, rescued.outcome} == {Outcome.CANCELLED_BY_USER}


async def test_an_unknown_run_cannot_be_cancelled(store: Store) -> None:
    with pytest.raises(RunNotFound):
        await store.runs.cancel("01ARZ3NDEKTSV4RRFFQ69G5FAV")


# --- requeued and rescued ---------------------------------------------------------------------


async def test_a_requeued_run_says_why_and_is_attempted_again(store: Store) -> None:
    run = await running(store)

    again = await store.runs.requeue(run.id, run.epoch, "the gateway stopped")

    events = await store.events.read_after(run.id, 0, 10)
    assert (again.status, again.owner, again.attempt) == (RunStatus.QUEUED, None, 1)
    assert events[-1].data == Status(status="queued", attempt=1, reason="the gateway stopped")
    assert (await claim_one(store)).attempt == 2


async def test_a_run_is_attempted_up_to_its_limit(store: Store) -> None:
    await store.runs.accept(spec(max_attempts=3))
    for attempt in (1, 2, 3):
        run = await claim_one(store)
        assert run.attempt == attempt
        await store.owners.rescue_runs("owner")

    ended = await store.runs.get(run.id)
    assert (ended.status, ended.outcome) == (RunStatus.FAILED, Outcome.INTERRUPTED)
    assert ended.error is not None
    assert "3 times" in ended.error
    assert await store.runs.claim("owner", LIMITS) == []


async def test_a_run_whose_policy_is_to_fail_is_not_attempted_again(store: Store) -> None:
    await running(store, on_interrupt=OnInterrupt.FAIL)
    await store.runs.accept(spec(text="next"))

    (ended,) = await store.owners.rescue_runs("owner")

    assert (ended.status, ended.outcome, ended.attempt) == (RunStatus.FAILED, Outcome.INTERRUPTED, 1)
    assert (await claim_one(store)).spec.input == "next"


async def test_only_runs_of_dead_owners_are_rescued(store: Store) -> None:
    await store.runs.accept(spec("main:test:a"))
    await store.runs.claim("dead", LIMITS)
    await store.runs.accept(spec("main:test:b"))
    (alive,) = await store.runs.claim("alive", LIMITS)

    rescued = await store.owners.rescue_runs("dead")

    assert [run.spec.session for run in rescued] == ["main:test:a"]
    assert await store.runs.get(alive.id) == alive
    assert list(await store.owners.list()) == ["alive"]


# --- idempotency ------------------------------------------------------------------------------


async def test_the_same_key_and_body_give_the_same_run(store: Store) -> None:
    first = await store.runs.accept(spec(), key())
    second = await store.runs.accept(spec(), key())

    assert (second.run.id, second.is_new) == (first.run.id, False)
    assert len(await store.runs.list(ALL, PAGE)) == 1


async def test_the_same_key_returns_the_run_in_its_current_state(store: Store) -> None:
    run = (await store.runs.accept(spec(), key())).run
    ended = await finish(store, await claim_one(store))

    assert ended.id == run.id
    assert (await store.runs.accept(spec(), key())).run == ended


async def test_the_same_key_with_another_body_is_a_conflict(store: Store) -> None:
    await store.runs.accept(spec(), key(digest="one"))

    with pytest.raises(Conflict):
        await store.runs.accept(spec(), key(digest="two"))

    assert len(await store.runs.list(ALL, PAGE)) == 1


async def test_the_run_of_a_key_is_found(store: Store) -> None:
    run = (await store.runs.accept(spec(), key())).run

    assert await store.runs.find_accepted(key()) == run
    assert await store.runs.find_accepted(key("another")) is None
    with pytest.raises(Conflict):
        await store.runs.find_accepted(key(digest="another"))


async def test_a_key_is_valid_only_in_its_scope(store: Store) -> None:
    first = await store.runs.accept(spec(), key(scope="one"))
    second = await store.runs.accept(spec(), key(scope="two"))

    assert first.run.id != second.run.id


async def test_a_key_is_forgotten_after_a_day(store: Store, clock: SteppedClock) -> None:
    first = await store.runs.accept(spec(), key())
    clock.forward(DAY - 1)
    within = await store.runs.accept(spec(), key())
    clock.forward(1)
    after = await store.runs.accept(spec(), key(digest="another"))
    again = await store.runs.accept(spec(), key(digest="another"))

    assert (within.run.id, after.is_new, again.run.id) == (first.run.id, True, after.run.id)


async def test_pruning_removes_only_expired_keys(store: Store, clock: SteppedClock) -> None:
    await store.runs.accept(spec(), key("old"))
    clock.forward(DAY)
    kept = await store.runs.accept(spec(), key("new"))

    await store.retention.prune_expired()
    clock.forward(-DAY)  # a key that was only expired would be valid again

    assert (await store.runs.accept(spec(), key("new"))).run.id == kept.run.id
    assert (await store.runs.accept(spec(), key("old"))).is_new


async def test_a_refused_request_does_not_consume_its_key(store: Store) -> None:
    await store.runs.accept(spec())
    with pytest.raises(AgentBusy):
        await store.runs.accept(spec(), key(), rules(SessionMode.REJECT))

    assert (await store.runs.accept(spec(), key())).is_new


async def test_twenty_requests_at_once_with_one_key_make_one_run(store: Store) -> None:
    accepted = await asyncio.gather(*(store.runs.accept(spec(), key()) for _ in range(20)))

    assert len({one.run.id for one in accepted}) == 1
    assert [one.is_new for one in accepted].count(True) == 1


# --- a busy session ---------------------------------------------------------------------------


async def test_a_busy_session_can_reject(store: Store) -> None:
    run = await running(store)
    with pytest.raises(AgentBusy):
        await store.runs.accept(spec(), None, rules(SessionMode.REJECT))
    await finish(store, run)

    assert (await store.runs.accept(spec(), None, rules(SessionMode.REJECT))).is_new


async def test_a_busy_session_can_be_interrupted(store: Store) -> None:
    run = await running(store)

    accepted = await store.runs.accept(spec(text="stop that"), None, rules(SessionMode.INTERRUPT))

    assert accepted.interrupted_runs == (run.id,)
    assert (await store.runs.get(run.id)).cancel_requested


async def test_only_the_running_run_of_the_session_is_interrupted(store: Store) -> None:
    run, other = await running(store), await running(store, session="main:test:b")
    waiting = (await store.runs.accept(spec())).run

    accepted = await store.runs.accept(spec(), None, rules(SessionMode.INTERRUPT))

    assert accepted.interrupted_runs == (run.id,)
    assert not (await store.runs.get(other.id)).cancel_requested
    assert not (await store.runs.get(waiting.id)).cancel_requested


async def test_a_run_that_waits_to_be_claimed_is_not_interrupted(store: Store) -> None:
    waiting = (await store.runs.accept(spec())).run

    assert (await store.runs.accept(spec(), None, rules(SessionMode.INTERRUPT))).interrupted_runs == ()
    assert not (await store.runs.get(waiting.id)).cancel_requested


async def test_a_session_that_is_free_has_nothing_to_interrupt(store: Store) -> None:
    assert (await store.runs.accept(spec(), None, rules(SessionMode.INTERRUPT))).interrupted_runs == ()


# --- finding and listing ----------------------------------------------------------------------


async def test_a_run_is_found_by_a_unique_prefix_of_its_id(store: Store, clock: SteppedClock) -> None:
    first = (await store.runs.accept(spec())).run
    clock.forward(10**9)
    second = (await store.runs.accept(spec())).run
    unique = next(n for n in range(1, 27) if first.id[:n] != second.id[:n])

    assert (await store.runs.get(first.id[:unique])).id == first.id
    assert (await store.runs.get(second.id[:unique].lower())).id == second.id
    assert (await store.runs.get(second.id.lower())).id == second.id


async def test_a_run_is_found_by_any_unique_part_of_four_characters_or_more(store: Store) -> None:
    first, second = [(await store.runs.accept(spec())).run for _ in range(2)]

    for part in (first.id[-8:], first.id[-8:].lower(), first.id[12:22]):
        assert (await store.runs.get(part)).id == first.id
    with pytest.raises(RunNotFound, match="there is no task"):
        await store.runs.get(first.id[-3:])
    with pytest.raises(RunNotFound, match=f"several tasks.*{second.id}.*{first.id}|{first.id}.*{second.id}"):
        await store.runs.get(first.id[:4])


async def test_runs_since_a_time_are_listed(store: Store, clock: SteppedClock) -> None:
    await store.runs.accept(spec())
    clock.forward(10)
    second = (await store.runs.accept(spec())).run
    clock.forward(10)
    third = (await store.runs.accept(spec())).run

    assert [run.id for run in await store.runs.list(RunFilter(since=second.created), Page())] == [third.id, second.id]
    assert await store.runs.list(RunFilter(since=third.created + 1), Page()) == []


@pytest.mark.parametrize("name", ["", "0", "%", "_", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "~", "0'--", "\N{CRAB}", "0" * 999])
async def test_a_prefix_that_matches_no_run_or_several_finds_nothing(store: Store, name: str) -> None:
    for _ in range(2):
        await store.runs.accept(spec())

    with pytest.raises(RunNotFound):
        await store.runs.get(name)


async def test_runs_are_listed_newest_first_and_can_be_filtered(store: Store) -> None:
    runs = {
        "queued": (await store.runs.accept(spec("main:test:z", labels={"team": "red"}))).run,
        "other": (await store.runs.accept(spec("other:test:a", labels={"team": "blue", "x": "a=b"}))).run,
    }
    ended = await finish(store, next(r for r in await store.runs.claim("o", LIMITS) if r.id == runs["other"].id))

    async def listed(**which: object) -> list[str]:
        return [run.id for run in await store.runs.list(RunFilter(**which), PAGE)]  # type: ignore[arg-type]

    both = [runs["other"].id, runs["queued"].id]
    assert await listed() == both
    assert await listed(statuses=(RunStatus.SUCCEEDED,)) == [ended.id]
    assert await listed(agent="main") == [runs["queued"].id]
    assert await listed(session="other:test:a", statuses=(RunStatus.SUCCEEDED,)) == [ended.id]
    assert await listed(label="team") == both
    assert await listed(label="team=red") == [runs["queued"].id]
    assert await listed(label="x=a=b") == [ended.id]
    assert await listed(label="team=", agent="main") == []


async def test_pages_have_no_gaps_and_no_repetitions(store: Store) -> None:
    ids = [(await store.runs.accept(spec())).run.id for _ in range(25)]
    seen: list[str] = []
    before: int | None = None
    while page := await store.runs.list(ALL, Page(limit=7, before=before)):
        await store.runs.accept(spec())  # runs accepted in between are not in these pages
        seen += [run.id for run in page]
        before = page[-1].seq

    assert [run for run in seen if run in ids] == ids[::-1]
    assert len(seen) == len(set(seen))


async def test_counts_follow_what_becomes_of_runs(store: Store, clock: SteppedClock) -> None:
    for chat in "abcd":
        await store.runs.accept(spec(f"main:test:{chat}"))
    runs = await store.runs.claim("owner", RunLimits(total=3, agents={"main": 3}))
    clock.forward(10)
    await finish(store, runs[0])
    await store.runs.requeue(runs[1].id, runs[1].epoch, "why")

    counts = await store.runs.count_totals(START)
    assert (counts.queued, counts.running, counts.sessions) == (2, 1, 4)
    assert counts.ended == {"cancelled": 0, "failed": 0, "succeeded": 1}
    assert sum((await store.runs.count_totals(START + 11)).ended.values()) == 0


# --- changes ----------------------------------------------------------------------------------


async def test_what_becomes_of_a_run_is_in_the_log_of_changes(store: Store) -> None:
    run = await running(store)
    await finish(store, run)

    changes = await store.events.read_changes_after(0, 100)

    assert [(change.topic, change.ref, change.state) for change in changes] == [
        ("session", run.spec.session, "created"),
        ("run", run.id, "queued"),
        ("run", run.id, "running"),
        ("run", run.id, "succeeded"),
    ]
    assert await store.events.read_changes_after(changes[1].seq, 1) == [changes[2]]
    assert await store.events.last_change() == changes[-1].seq


async def test_an_empty_log_of_changes_has_no_last_change(store: Store) -> None:
    assert (await store.events.last_change(), await store.events.read_changes_after(0, 10)) == (0, [])


# --- listeners --------------------------------------------------------------------------------


async def test_listeners_are_told_what_is_on_disk_and_nothing_else(shelf: Shelf) -> None:
    store = shelf.open(queue_limit=3)
    told = Told(store)

    await asyncio.gather(*(store.runs.accept(spec()) for _ in range(6)), return_exceptions=True)
    run = await claim_one(store)
    await finish(store, run)

    stored = [
        event for one in await store.runs.list(ALL, PAGE) for event in await store.events.read_after(one.id, 0, 100)
    ]
    assert sorted(told.events, key=lambda event: (event.run, event.number)) == sorted(
        stored, key=lambda e: (e.run, e.number)
    )
    assert told.changes == list(await store.events.read_changes_after(0, 100))


async def test_a_listener_can_read_at_once_what_it_is_told(store: Store) -> None:
    reads: list[asyncio.Task[object]] = []
    store.subscribe(
        lambda commit: reads.extend(asyncio.ensure_future(store.runs.get(event.run)) for event in commit.events)
    )

    await asyncio.gather(*(store.runs.accept(spec(f"main:test:{n}")) for n in range(20)))

    assert len(await asyncio.gather(*reads)) == 20


async def test_what_is_written_together_is_told_together(store: Store) -> None:
    told = Told(store)

    await asyncio.gather(*(store.runs.accept(spec(f"main:test:{n}")) for n in range(200)))

    assert len(told.events) == 200
    assert len(told.calls) < 50


async def test_a_listener_that_raises_blocks_no_writer_and_no_other_listener(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context["exception"]))

    def listener(*_: object) -> None:
        raise RuntimeError("a listener broke")

    store.subscribe(listener)
    told = Told(store)

    assert (await store.runs.accept(spec())).is_new
    assert len(told.calls) == 1
    assert [str(error) for error in broken] == ["a listener broke"]


# --- writes of one batch ----------------------------------------------------------------------


async def test_one_bad_write_in_a_batch_fails_alone(store: Store) -> None:
    taken = await store.runs.accept(spec("main:test:0"), key("taken", digest="one"))
    told = Told(store)
    writes = [store.runs.accept(spec(f"main:test:{n}"), key(f"k{n}")) for n in range(30)]
    writes.insert(10, store.runs.accept(spec("main:test:x"), key("taken", digest="two")))
    writes.insert(
        20, store.runs.accept(RunSpec(source=Source.TASK, agent="main", session="main:test:y", input="\ud800"))
    )

    results = await asyncio.gather(*writes, return_exceptions=True)

    failed = [number for number, result in enumerate(results) if isinstance(result, BaseException)]
    assert failed == [10, 20]
    assert len(await store.runs.list(ALL, PAGE)) == 31
    assert await store.sessions.find("main:test:x") is None
    assert await store.sessions.find("main:test:y") is None
    assert (await store.runs.count_totals(0)).queued == 31
    assert len(told.events) == 30
    assert taken.run.id not in {event.run for event in told.events}


async def test_bad_writes_do_not_make_their_neighbours_slow(store: Store) -> None:
    """Many conflicts next to good writes do not cost one commit each."""
    await store.runs.accept(spec(), key("taken", digest="one"))
    told = Told(store)

    await asyncio.gather(
        *(store.runs.accept(spec(f"main:test:{n}")) for n in range(200)),
        *(store.runs.accept(spec(), key("taken", digest="two")) for _ in range(200)),
        return_exceptions=True,
    )

    assert len(told.calls) < 50


async def test_closing_finishes_waiting_writes(shelf: Shelf) -> None:
    store = shelf.open()
    writes = [asyncio.ensure_future(store.runs.accept(spec(f"main:test:{n}"))) for n in range(300)]
    await asyncio.sleep(0)  # the writes are passed to the store's thread now
    await store.close()
    await store.close()

    assert len([await write for write in writes]) == 300
    with pytest.raises(Unavailable):
        await store.runs.accept(spec())
    with pytest.raises(Unavailable):
        await store.runs.count_totals(0)
    assert (await shelf.open().runs.count_totals(0)).queued == 300


async def test_a_cancelled_writer_does_not_undo_its_write(store: Store) -> None:
    gone = asyncio.ensure_future(store.runs.accept(spec(), key()))
    await asyncio.sleep(0)
    gone.cancel()
    await store.check_writable()

    assert not (await store.runs.accept(spec(), key())).is_new


async def test_a_disk_check_changes_nothing_that_is_visible(store: Store) -> None:
    await store.runs.accept(spec())
    told, before = Told(store), await store.runs.count_totals(0)

    await store.check_writable()

    assert (await store.runs.count_totals(0), told.calls) == (before, [])


# --- tickets ----------------------------------------------------------------------------------


def _ticket(hash_: str, seconds: int = 30) -> Ticket:
    return Ticket(hash=hash_, token="t", expires=START + seconds * 1000)


async def test_a_ticket_works_once(store: Store) -> None:
    await store.tokens.add_ticket(_ticket("a"))

    assert [await store.tokens.redeem_ticket(hash_) for hash_ in ("b", "a", "a")] == [None, "t", None]


async def test_an_expired_ticket_is_rejected_and_removed(store: Store, clock: SteppedClock) -> None:
    await store.tokens.add_ticket(_ticket("a"))
    await store.tokens.add_ticket(_ticket("b"))
    clock.forward(30_000)
    late = await store.tokens.redeem_ticket("a")
    await store.tokens.add_ticket(_ticket("c", 60))
    clock.now = START

    assert (late, await store.tokens.redeem_ticket("b"), await store.tokens.redeem_ticket("c")) == (None, None, "t")


async def test_a_new_ticket_replaces_a_lost_one(store: Store) -> None:
    key = IdempotencyKey(scope="s", key="k", digest="d")
    await store.tokens.add_ticket(_ticket("a"), key)
    await store.tokens.add_ticket(_ticket("b"), key)
    await store.tokens.add_ticket(_ticket("c"), key)

    assert [await store.tokens.redeem_ticket(hash_) for hash_ in "abc"] == [None, None, "t"]


# --- browsers that are signed in --------------------------------------------------------------


def _sign_in(name: str, parent: str = "t", last_used: int = START) -> Token:
    return Token(
        name=name,
        hash=f"hash of {name}",
        scope=Scope.READ,
        expires=START + 60_000,
        created=START,
        browser="Firefox on Linux",
        parent=parent,
        last_used=last_used,
    )


async def test_a_sign_in_is_listed_among_the_tokens_with_its_use(store: Store) -> None:
    await store.tokens.add(Token(name="z", hash="t", scope=Scope.READ, created=START))
    await store.tokens.add_sign_in(_sign_in("a"), 2)
    await store.tokens.record_use("hash of a", START + 5, START + 7)
    await store.tokens.record_use("t", START + 5, START + 7)

    found = msgspec.structs.replace(_sign_in("a"), last_used=START + 5, expires=START + 7)
    assert list(await store.tokens.list()) == [found, Token(name="z", hash="t", scope=Scope.READ, created=START)]


async def test_a_sign_in_removes_the_replaced_the_expired_and_the_longest_unused(
    store: Store, clock: SteppedClock
) -> None:
    expired = msgspec.structs.replace(_sign_in("expired"), expires=START + 1)
    for one in (expired, _sign_in("mine"), *(_sign_in(f"other {n}", "o", START + n) for n in (3, 1, 2))):
        await store.tokens.add_sign_in(one, 10)
    clock.forward(1)

    removed = await store.tokens.add_sign_in(_sign_in("new", "o", START + 4), 3, "hash of mine")

    assert sorted(removed) == ["hash of expired", "hash of mine", "hash of other 1"]
    assert [one.name for one in await store.tokens.list()] == ["new", "other 2", "other 3"]


async def test_a_revoked_token_takes_its_browsers_along_and_no_others(store: Store) -> None:
    await store.tokens.add(Token(name="phone", hash="t", scope=Scope.READ, created=START))
    for one in (_sign_in("a"), _sign_in("b"), _sign_in("c", "o")):
        await store.tokens.add_sign_in(one, 10)

    assert await store.tokens.revoke("a") is True
    assert [one.name for one in await store.tokens.list()] == ["b", "c", "phone"]
    assert [await store.tokens.revoke(name) for name in ("phone", "phone")] == [True, False]
    assert [one.name for one in await store.tokens.list()] == ["c"]


async def test_a_batch_of_runs_ends_when_it_has_so_much_text(store: Store) -> None:
    ids = [(await store.runs.accept(spec(text="x" * 600))).run.id for _ in range(4)]

    for size, expected in [(1, 1), (600, 1), (601, 2), (1_800, 3), (100_000, 4)]:
        count, runs = await store.runs.read_batch(ids, size, shortened=False)
        assert (count, [run.id for run in runs]) == (expected, ids[:expected])


async def test_a_batch_leaves_out_runs_that_are_gone_and_goes_on(store: Store) -> None:
    ids = [(await store.runs.accept(spec(text="x" * 600))).run.id for _ in range(2)]

    count, runs = await store.runs.read_batch([ids[0], "gone", ids[1]], 100_000, shortened=False)

    assert (count, [run.id for run in runs]) == (3, ids)


async def wait_external_commit(store: Store, seen: int) -> int:
    """Wait until a store has seen a commit of another process, and return the new number."""
    async with asyncio.timeout(PATIENCE):
        while (found := await store.count_external_commits()) == seen:
            await asyncio.sleep(0.005)
    return found


async def test_each_commit_of_another_process_is_seen(shelf: Shelf) -> None:
    """Those, too, that tell of no event and no change: a request to cancel a running run is one."""
    theirs = shelf.open()
    run = await running(theirs)
    ours = shelf.open()
    seen = await wait_external_commit(ours, 0)  # it looks from now on

    await theirs.runs.cancel(run.id)
    seen = await wait_external_commit(ours, seen)
    await theirs.notes.save("scope", {"name": "value"})
    await wait_external_commit(ours, seen)
