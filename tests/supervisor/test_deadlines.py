"""Deadlines: who is late, hangs or does not end is killed, and nobody else."""

from __future__ import annotations

import signal
from typing import Any, cast

import pytest

from gateway.supervisor import deadlines
from gateway.supervisor.deadlines import DeadlineWatch, TimeLimits
from gateway.supervisor.generation import KILL_SIGNAL, Generation, GenerationState

LIMITS = TimeLimits(stop_grace=5.0, drain=60.0, hang=30.0, ready=20.0)


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class Serving:
    """A generation without a process."""

    def __init__(self, clock: Clock, state: GenerationState, *, migrates: bool = False) -> None:
        self.number, self.state, self.migrates = 1, state, migrates
        self.deadline: float | None = None
        self.error, self.hangs = "", False
        self.started = self.heard = clock.now
        self.signals: list[int] = []
        self._clock = clock

    def silent_for(self) -> float:
        return self._clock.now - self.heard

    def send_signal(self, number: int = KILL_SIGNAL) -> None:
        self.signals.append(number)


class Watch:
    def __init__(self, clock: Clock) -> None:
        self.logged: list[str] = []
        self._clock = clock
        self._watch = DeadlineWatch(self._log)

    def _log(self, event: str, **_: Any) -> None:
        self.logged.append(event)

    def pass_seconds(self, seconds: float, *serving: Serving, heard: bool = False) -> None:
        """Check every two seconds; `heard` lets them say each time that they live."""
        end = self._clock.now + seconds
        while self._clock.now < end:
            self._clock.now = min(self._clock.now + 2.0, end)
            for one in serving:
                one.heard = self._clock.now if heard else one.heard
            self._watch.enforce_deadlines(cast("list[Generation]", list(serving)), LIMITS)

    def sleep(self, seconds: float, *serving: Serving) -> None:
        """Let the machine sleep: no check happens meanwhile."""
        self._clock.now += seconds
        self._watch.enforce_deadlines(cast("list[Generation]", list(serving)), LIMITS)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(deadlines, "time", made)
    return made


@pytest.fixture
def watch(clock: Clock) -> Watch:
    return Watch(clock)


@pytest.mark.parametrize("state", [GenerationState.STANDBY, GenerationState.LEADING, GenerationState.DRAINING])
def test_who_says_that_it_lives_is_left_alone(clock: Clock, watch: Watch, state: GenerationState) -> None:
    one = Serving(clock, state)
    watch.pass_seconds(200, one, heard=True)

    assert (one.signals, one.error, one.hangs, one.deadline, watch.logged) == ([], "", False, None, [])


def test_who_hangs_logs_where_once_and_is_killed_once(clock: Clock, watch: Watch) -> None:
    hung, healthy = Serving(clock, GenerationState.LEADING), Serving(clock, GenerationState.DRAINING)
    watch.pass_seconds(LIMITS.hang, hung)
    assert hung.signals == []

    healthy.heard = clock.now
    watch.pass_seconds(2, hung, healthy)
    assert hung.signals == [signal.SIGUSR2]
    assert hung.error == "it hung: it sent no heartbeat for 30 s"

    watch.pass_seconds(10, hung, healthy)
    assert hung.signals == [signal.SIGUSR2, KILL_SIGNAL]
    assert healthy.signals == []
    assert watch.logged == ["generation.hangs", "generation.killed"]


def test_an_earlier_deadline_stays_though_it_hangs(clock: Clock, watch: Watch) -> None:
    one = Serving(clock, GenerationState.DRAINING)
    watch.pass_seconds(LIMITS.hang, one)
    one.deadline = clock.now + 2.5
    watch.pass_seconds(2, one)

    assert one.deadline == clock.now + 0.5


@pytest.mark.parametrize(
    ("migrates", "limit"),
    [(False, LIMITS.ready), (True, deadlines.MIGRATION_LIMIT_SECONDS)],
    ids=["start", "migration"],
)
def test_who_is_not_ready_in_time_is_killed(clock: Clock, watch: Watch, migrates: bool, limit: float) -> None:
    one = Serving(clock, GenerationState.STARTING, migrates=migrates)
    watch.pass_seconds(limit, one)
    assert (one.signals, one.error) == ([], "")

    watch.pass_seconds(4, one)
    assert (one.signals, one.error) == ([KILL_SIGNAL], f"it was not ready within {limit:g} s")


def test_nobody_is_killed_because_the_machine_slept(clock: Clock, watch: Watch) -> None:
    one = Serving(clock, GenerationState.LEADING)
    watch.sleep(10_000, one)
    watch.pass_seconds(LIMITS.hang, one)

    assert (one.signals, one.hangs) == ([], False)


def test_a_deadline_kills_once(clock: Clock, watch: Watch) -> None:
    one = Serving(clock, GenerationState.DRAINING)
    one.deadline = clock.now + 3
    watch.pass_seconds(2, one, heard=True)
    assert one.signals == []

    watch.pass_seconds(10, one, heard=True)
    assert (one.signals, one.deadline) == ([KILL_SIGNAL], None)
