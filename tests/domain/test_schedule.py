"""What a schedule decides about its times."""

from __future__ import annotations

import pytest

from gateway.domain.schedule import MAX_WAITING_RUNS_PER_SCHEDULE, Misfire, Overlap, ScheduleSpec, explain_skip

FULL = MAX_WAITING_RUNS_PER_SCHEDULE


@pytest.mark.parametrize(
    ("policy", "waiting", "running", "skipped"),
    [
        (Overlap.QUEUE, 0, 0, False),
        (Overlap.QUEUE, FULL - 1, 9, False),
        (Overlap.QUEUE, FULL, 0, True),
        (Overlap.QUEUE_ONE, 0, 0, False),
        (Overlap.QUEUE_ONE, 0, 9, False),
        (Overlap.QUEUE_ONE, 1, 0, True),
        (Overlap.SKIP, 0, 0, False),
        (Overlap.SKIP, 0, 1, True),
        (Overlap.SKIP, 1, 0, True),
        (Overlap.REPLACE, FULL, 9, False),
    ],
)
def test_a_time_is_skipped_when_its_policy_says_so(policy: Overlap, waiting: int, running: int, skipped: bool) -> None:
    assert (explain_skip(policy, waiting, running) is not None) == skipped


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ({}, Overlap.QUEUE_ONE),
        ({"misfire": Misfire.SKIP}, Overlap.QUEUE_ONE),
        ({"misfire": Misfire.ALL}, Overlap.QUEUE),
        ({"misfire": Misfire.ALL, "overlap": Overlap.SKIP}, Overlap.SKIP),
        ({"expression": "2030-01-31T09:00:00Z"}, Overlap.QUEUE),
        ({"overlap": Overlap.QUEUE}, Overlap.QUEUE),
    ],
)
def test_one_run_may_wait_by_default_unless_each_time_counts(fields: dict[str, object], policy: Overlap) -> None:
    spec = ScheduleSpec(**{"expression": "every 1m", "input": "wake", **fields})  # type: ignore[arg-type]

    assert spec.overlap_policy is policy
