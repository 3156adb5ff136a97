"""The benchmarks run: every row in its quick form. What they find is for `bench/RESULTS.md`, not for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import measure, report
from bench.measure import Sample
from bench.report import Figure, Result, Row
from gateway import plugins

ROOT = Path(__file__).parents[1]
ROWS = sorted(plugins.discover_modules("bench.rows", "ROW"))


@pytest.mark.drill
@pytest.mark.parametrize("row", ROWS)
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
