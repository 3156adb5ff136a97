"""Every store behaves like a simple model of it, for random operations in random order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gateway.domain.agent import SessionMode
from gateway.domain.event import Event, Text
from gateway.domain.ports.run_store import Fenced
from gateway.domain.queue import RunLimits
from gateway.domain.run import OnInterrupt, Run, Status
from gateway.errors import AgentBusy, Conflict
from tests.contracts.stores import ALL, LIMITS, PAGE, SteppedClock, Told, done, rules, spec
from tests.support.store_kinds import KIND_NAMES, prepared_kind

T = TypeVar("T")

SESSIONS = [f"{agent}:test:{chat}" for agent in ("main", "other") for chat in "ab"]
OWNERS = ["owner-1", "owner-2"]
ATTEMPTS = 2
#: random histories; the rules are the same statements on both, which PostgreSQL answers more slowly
MODEL_EXAMPLES = {"sqlite": 100, "postgres": 40}
#: how often the whole store is compared with the model. What differs stays different: PostgreSQL, whose reads take
#: longest, is looked at less often, and at the end
STEPS_BETWEEN_LOOKS = {"sqlite": 1, "postgres": 5}
ROOM = [LIMITS, LIMITS, *(RunLimits(total=t, agents={"main": m, "other": o}) for t, m, o in [(2, 2, 1), (1, 1, 1)])]


@dataclass(slots=True)
class Known:
    """A run in the model."""

    id: str
    seq: int
    session: str
    priority: int
    #: earliest start; None once the run has joined its lane
    run_at: int | None
    on_interrupt: OnInterrupt
    status: Status = Status.QUEUED
    #: whether it is the first of its lane: the next run of its session to be claimed
    ready: bool = False
    attempt: int = 0
    owner: str | None = None
    stopping: bool = False

    @property
    def open(self) -> bool:
        return self.status in (Status.QUEUED, Status.RUNNING)

    @property
    def urgency(self) -> tuple[int, int]:
        return -self.priority, self.seq


class Model:
    """A list of runs, with obvious rules."""

    def __init__(self) -> None:
        self.runs: list[Known] = []

    def lane(self, session: str) -> Iterator[Known]:
        return (run for run in self.runs if run.session == session and run.open)

    def of_status(self, status: Status) -> list[Known]:
        return [run for run in self.runs if run.status is status]

    def advance(self, session: str) -> None:
        lane = list(self.lane(session))
        if not any(run.ready or run.status is Status.RUNNING for run in lane):
            joined = [run for run in lane if run.run_at is None]
            if joined:
                joined[0].ready = True

    def claim(self, owner: str, limits: RunLimits, now: int) -> list[Known]:
        for run in self.of_status(Status.QUEUED):
            if run.run_at is not None and run.run_at <= now:
                run.run_at = None
        for session in SESSIONS:
            self.advance(session)
        claimed: list[Known] = []
        while len(self.of_status(Status.RUNNING)) < limits.total and (head := self._next(limits)):
            head.status, head.ready, head.owner = Status.RUNNING, False, owner
            head.attempt += 1
            claimed.append(head)
        return claimed

    def _next(self, limits: RunLimits) -> Known | None:
        """Return the run to claim: the most urgent one of each agent, and of these the one accepted first."""
        heads = []
        for agent, limit in limits.agents.items():
            own = [run for run in self.runs if run.session.startswith(f"{agent}:")]
            if sum(run.status is Status.RUNNING for run in own) < limit:
                heads += sorted((run for run in own if run.ready), key=lambda run: run.urgency)[:1]
        return min(heads, key=lambda run: run.seq, default=None)

    def end(self, run: Known, status: Status) -> None:
        run.status, run.ready, run.owner = status, False, None
        self.advance(run.session)

    def requeue(self, run: Known) -> None:
        if run.stopping:
            self.end(run, Status.CANCELLED)
        elif run.on_interrupt is OnInterrupt.FAIL or run.attempt >= ATTEMPTS:
            self.end(run, Status.FAILED)
        else:
            run.status, run.ready, run.owner = Status.QUEUED, True, None


class StoreMachine(RuleBasedStateMachine):
    """The store and the model, driven together."""

    kind_name: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.given = ExitStack()
        self.directory = Path(self.given.enter_context(tempfile.TemporaryDirectory()))
        self.kind = self.given.enter_context(prepared_kind(self.kind_name))
        self.clock = SteppedClock()
        self.model = Model()
        self.steps = 0
        self.store = self.do(self._open())
        self.told = Told(self.store)
        self.zombies: list[Run] = []
        self.held: dict[str, Run] = {}

    async def _open(self) -> Any:
        return self.kind.open(self.directory, clock=self.clock)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def pick(self, status: Status, number: int) -> Known:
        found = self.model.of_status(status)
        return found[number % len(found)]

    def has(self, status: Status) -> bool:
        return bool(self.model.of_status(status))

    def let_go(self, run: Known) -> None:
        self.zombies.append(self.held.pop(run.id))

    @rule(
        session=st.sampled_from(SESSIONS),
        priority=st.integers(-1, 1),
        delay=st.sampled_from([None, None, 0, 1000]),
        policy=st.sampled_from([OnInterrupt.RETRY, OnInterrupt.RETRY, OnInterrupt.FAIL]),
        mode=st.sampled_from([*SessionMode, SessionMode.QUEUE, SessionMode.QUEUE]),
    )
    def accept(self, session: str, priority: int, delay: int | None, policy: OnInterrupt, mode: SessionMode) -> None:
        run_at = None if delay is None else self.clock.now + delay
        wanted = spec(session, priority=priority, run_at=run_at, on_interrupt=policy, max_attempts=ATTEMPTS)
        lane = list(self.model.lane(session))
        try:
            accepted = self.do(self.store.runs.accept(wanted, None, rules(mode)))
        except AgentBusy:
            assert lane
            assert mode is SessionMode.REJECT
            return
        assert not (lane and mode is SessionMode.REJECT)
        working = [run for run in lane if run.status is Status.RUNNING] if mode is SessionMode.INTERRUPT else []
        assert accepted.interrupted_runs == tuple(run.id for run in working)
        for run in working:
            run.stopping = True
        self.model.runs.append(
            Known(accepted.run.id, accepted.run.seq, session, priority, run_at if delay else None, policy)
        )
        self.model.advance(session)

    @rule(owner=st.sampled_from(OWNERS), limits=st.sampled_from(ROOM))
    def claim(self, owner: str, limits: RunLimits) -> None:
        claimed = self.do(self.store.runs.claim(owner, limits))
        assert [run.id for run in claimed] == [run.id for run in self.model.claim(owner, limits, self.clock.now)]
        self.held.update({run.id: run for run in claimed})

    @precondition(lambda self: self.has(Status.RUNNING))
    @rule(number=st.integers(0, 9))
    def finish(self, number: int) -> None:
        known = self.pick(Status.RUNNING, number)
        run = self.held[known.id]
        self.do(self.store.events.append(run.id, run.epoch, [Text(delta="more")]))
        self.do(self.store.runs.finish(run.id, run.epoch, done(), [Text(delta="last")]))
        self.let_go(known)
        self.model.end(known, Status.SUCCEEDED)

    @precondition(lambda self: self.has(Status.RUNNING))
    @rule(number=st.integers(0, 9))
    def requeue(self, number: int) -> None:
        known = self.pick(Status.RUNNING, number)
        run = self.held[known.id]
        self.do(self.store.runs.requeue(run.id, run.epoch, "why"))
        self.let_go(known)
        self.model.requeue(known)

    @precondition(lambda self: self.has(Status.RUNNING))
    @rule(owner=st.sampled_from(OWNERS))
    def rescue(self, owner: str) -> None:
        lost = [run for run in self.model.of_status(Status.RUNNING) if run.owner == owner]
        rescued = self.do(self.store.owners.rescue_runs(owner))
        assert {run.id for run in rescued} == {run.id for run in lost}
        for run in lost:
            self.let_go(run)
            self.model.requeue(run)

    @precondition(lambda self: len(self.model.runs) > 1)
    @rule(number=st.integers(0, 30))
    def cancel(self, number: int) -> None:
        known = self.model.runs[number % len(self.model.runs)]
        if not known.open:
            with pytest.raises(Conflict):
                self.do(self.store.runs.cancel(known.id))
            return
        self.do(self.store.runs.cancel(known.id))
        if known.status is Status.QUEUED:
            self.model.end(known, Status.CANCELLED)
        else:
            known.stopping = True

    @precondition(lambda self: bool(self.zombies))
    @rule(number=st.integers(0, 30))
    def write_as_a_zombie(self, number: int) -> None:
        run = self.zombies[number % len(self.zombies)]
        with pytest.raises(Fenced):
            self.do(self.store.runs.finish(run.id, run.epoch, done("zombie"), []))

    @precondition(lambda self: len(self.model.runs) > 3)
    @rule(session=st.sampled_from(SESSIONS))
    def delete_session(self, session: str) -> None:
        if self.do(self.store.sessions.find(session)) is None:
            return
        lane = list(self.model.lane(session))
        stopping = self.do(self.store.sessions.delete(session, force=True))
        assert set(stopping) == {run.id for run in lane if run.status is Status.RUNNING}
        for run in lane:
            if run.status is Status.RUNNING:
                run.stopping = True
            else:
                run.status, run.ready = Status.CANCELLED, False

    @rule(milliseconds=st.sampled_from([1, 1000, -500]))
    def pass_time(self, milliseconds: int) -> None:
        self.clock.forward(milliseconds)

    @invariant()
    def the_store_is_as_the_model_says(self) -> None:
        self.steps += 1
        if self.steps % STEPS_BETWEEN_LOOKS[self.kind_name] == 0:
            self.look()

    def look(self) -> None:
        """Check that every run and every count is as the model says."""
        runs, counts = self.do(self._read_runs_and_counts())
        shown = {run.id: (run.status, run.attempt, run.owner, run.cancel_requested) for run in runs}
        assert shown == {run.id: (run.status, run.attempt, run.owner, run.stopping) for run in self.model.runs}
        assert counts.queued == len(self.model.of_status(Status.QUEUED))
        assert counts.running == len(self.model.of_status(Status.RUNNING))
        ended = {status: len(self.model.of_status(Status(status))) for status in counts.ended}
        assert dict(counts.ended) == ended

    async def _read_runs_and_counts(self) -> tuple[Sequence[Run], Any]:
        """Read both at once, in two of the store's threads: the time of the model is that of its reads."""
        return await asyncio.gather(self.store.runs.list(ALL, PAGE), self.store.runs.count_totals(0))

    @invariant()
    def a_session_has_one_run_at_work(self) -> None:
        for session in SESSIONS:
            assert sum(run.ready or run.status is Status.RUNNING for run in self.model.lane(session)) <= 1

    def teardown(self) -> None:
        try:
            self.look()
            self._see_all_end()
            self._see_whole_logs()
        finally:
            self.do(self.store.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            self.given.close()

    def _see_all_end(self) -> None:
        """No run is ever stuck: with capacity and time, every run is claimed and can be ended."""
        self.clock.forward(10_000)
        for run in list(self.held.values()):
            self.do(self.store.runs.finish(run.id, run.epoch, done(), []))
        while claimed := self.do(self.store.runs.claim("last", LIMITS)):
            for run in claimed:
                self.do(self.store.runs.finish(run.id, run.epoch, done(), []))
        assert all(run.status.is_final for run in self.do(self.store.runs.list(ALL, PAGE)))

    def _see_whole_logs(self) -> None:
        for run, events in zip(self.model.runs, self.do(self._read_logs()), strict=True):
            assert [event.number for event in events] == list(range(1, len(events) + 1))
            assert [event.kind == "end" for event in events] == [False] * (len(events) - 1) + [True]
            assert [event for event in self.told.events if event.run == run.id] == list(events)
        assert self.told.changes == list(self.do(self.store.events.read_changes_after(0, 100_000)))

    async def _read_logs(self) -> list[Sequence[Event]]:
        return await asyncio.gather(*(self.store.events.read_after(run.id, 0, 10_000) for run in self.model.runs))


@pytest.mark.slow
@pytest.mark.parametrize("kind_name", KIND_NAMES)
def test_a_store_does_what_the_model_does(kind_name: str) -> None:
    machine = type("Machine", (StoreMachine,), {"kind_name": kind_name})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=MODEL_EXAMPLES[kind_name],
            stateful_step_count=60,
            deadline=None,
            print_blob=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
