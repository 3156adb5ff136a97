"""The benchmarks run: each row in its quick form. What they find is for `bench/RESULTS.md`, not for a test."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from bench import measure, report, simulation
from bench.measure import Sample
from bench.report import Figure, Result, Row
from gateway import plugins
from tests.support.thorough import choose_cases

ROOT = Path(__file__).parents[1]
ROWS = sorted(plugins.discover_modules("bench.rows", "ROW"))
#: rows that take longest, of what a drill and the tests of the dashboard do, too
LONG_ROWS = {"dashboard", "download", "fleet", "upload"}


@pytest.mark.drill
@pytest.mark.parametrize("row", choose_cases(ROWS, [place for place, row in enumerate(ROWS) if row not in LONG_ROWS]))
def test_a_row_runs_and_prints_its_figures(row: str) -> None:
    command = [sys.executable, "-m", "bench", row, "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| what" in done.stdout


def test_pairs_alternate_and_go_on_while_the_ratio_is_unsteady() -> None:
    order: list[str] = []
    numbers = iter([1.0, 9.0, 1.0, 9.0])

    def ours() -> float:
        order.append("ours")
        return next(numbers)

    def theirs() -> float:
        order.append("theirs")
        return 1.0

    slices = measure.pairs(ours, theirs, 2, lambda one, two: one / two)
    assert order == ["ours", "theirs", "theirs", "ours"] * (measure.PATIENCE * 2 // 2)
    assert list(measure.halves(slices)) == [(1.0, 1.0), (9.0, 1.0), (1.0, 1.0), (9.0, 1.0)]


def test_a_number_that_fell_says_so() -> None:
    def written(value: float, before: dict[str, str]) -> str:
        figure = Figure(name="start", sample=Sample.exactly(value), unit="x", reach=1.6)
        row = Row(title="Start", setup="", run=lambda quick: Result())
        return report.table([(row, Result(figures=[figure]))], before)

    before = report.earlier(written(1.5, {}))
    assert before == {"start": "1.50x"}
    assert "1.50x, fell" in written(1.7, before)
    assert "fell" not in written(1.4, before)
    assert "NO" in written(1.7, before)


def test_a_simulated_lock_makes_members_wait_as_queueing_theory_says() -> None:
    timeline = simulation.Timeline()
    lock = simulation.WriteLock(timeline)
    chance = random.Random(1)
    waits: list[float] = []

    def arrive() -> None:
        arrived = timeline.now
        cost = simulation.WriteCost(alone=1000, further=0, trips=0, further_trips=0)  # holds the lock for a second
        simulation.Member(timeline, lock).write(cost, lambda: waits.append(timeline.now - arrived - 1))
        timeline.call_after(chance.expovariate(0.5), arrive)

    arrive()
    timeline.run_until(100_000)
    # An M/D/1 queue: half of the time in use, the mean wait is 0.5 / (2 * (1 - 0.5)) of the time of service.
    assert sum(waits) / len(waits) == pytest.approx(0.5, rel=0.05)
    assert lock.asked_seconds / timeline.now == pytest.approx(0.5, rel=0.02)


def test_a_simulated_member_writes_what_waits_at_it_together() -> None:
    timeline = simulation.Timeline()
    lock = simulation.WriteLock(timeline)
    member = simulation.Member(timeline, lock, trip_ms=1)
    cost = simulation.WriteCost(alone=10, further=2, trips=3, further_trips=1)
    ended: list[float] = []
    for _ in range(3):
        member.write(cost, lambda: ended.append(timeline.now * 1000))
    timeline.run_until(1)
    assert ended == pytest.approx([13, 13 + 16, 13 + 16])  # the first one alone; then 10 + 2 and 3 + 1 round trips
    assert lock.commits == 2


def test_a_simulated_fleet_of_two_workers_says_what_its_busiest_hour_is_like() -> None:
    load = simulation.Load(workers=2, runs_a_day=2_000, says=0.1)
    outcome = simulation.simulate(load, seed=1)
    assert outcome == simulation.simulate(load, seed=1)
    assert outcome.bottlenecks[0] == "places of workers"
    alone = {cost: simulation.sum_costs([cost], simulation.NETWORK_MS) for cost in simulation.calculate_rates(load)}
    asked = sum(rate * alone[cost] for cost, rate in simulation.calculate_rates(load).items()) / 1000
    assert outcome.use["write lock"] == pytest.approx(asked, rel=0.1)  # there is next to nothing to write together
    fetched = simulation.FETCH_MS + 2 * simulation.NETWORK_MS
    assert outcome.p50 == pytest.approx(alone[simulation.ACCEPT] + fetched + alone[simulation.CLAIM], rel=0.02)
