"""What the drills of a fleet conclude from the runs that failed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from drills.fleet_checks import MIN_SUCCEEDED_SHARE, check_failures
from gateway.domain.run import MAX_ATTEMPTS, RunSpec, Source, decide_after_interruption

#: of which as many may fail as the drills accept, and one more than that is too much
RUNS = 100
MAY_FAIL = round(RUNS * (1 - MIN_SUCCEEDED_SHARE))


def judge(failed: int, *reasons: str, attempt: int = MAX_ATTEMPTS, error: str | None = None) -> None:
    """Check runs of which some failed, whose attempts were interrupted for the given reasons."""
    runs = {
        f"r{number}": ("hello", "failed" if number < failed else "succeeded", "", attempt) for number in range(RUNS)
    }
    if error is None:
        end = decide_after_interruption(
            RunSpec(agent="main", session="s", source=Source.TASK, input="hello"), MAX_ATTEMPTS, reasons[-1]
        )
        assert end is not None
        error = end.error
    told: list[dict[str, Any]] = [{"kind": "status", "status": "queued", "reason": reason} for reason in reasons[:-1]]
    told.append({"kind": "end", "status": "failed", "error": error})
    listed = [(number, 0, data) for number, data in enumerate(told, 1)]
    check_failures(runs, dict.fromkeys(runs, listed))


def test_a_few_runs_may_lose_all_their_members() -> None:
    judge(MAY_FAIL, "its gateway ended", "the disk refused", "its gateway ended")


def test_many_runs_may_not_fail() -> None:
    with pytest.raises(AssertionError, match=f"{MAY_FAIL + 1} of {RUNS} runs failed"):
        judge(MAY_FAIL + 1, "its gateway ended", "its gateway ended", "its gateway ended")


def test_a_run_may_not_fail_before_its_last_attempt() -> None:
    with pytest.raises(AssertionError, match="failed at attempt 2"):
        judge(1, "its gateway ended", "its gateway ended", attempt=2)


def test_a_run_may_not_fail_because_of_its_agent() -> None:
    with pytest.raises(AssertionError, match=re.escape("r0 failed: {'kind': 'end'")):
        judge(1, "its gateway ended", "its gateway ended", error="the agent exited with code 1")


def test_a_run_may_not_be_attempted_again_for_another_reason() -> None:
    with pytest.raises(AssertionError, match="attempted again because"):
        judge(1, "its gateway ended", "a mood", "its gateway ended")
