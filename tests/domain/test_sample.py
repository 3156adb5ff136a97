"""Samples: how far apart the points of a plot are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.domain.sample import choose_step

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("span", "points", "step"),
    [(HOUR, 240, MINUTE), (DAY, 240, 7 * MINUTE), (7 * DAY, 240, 43 * MINUTE), (HOUR, 2, HOUR), (1, 240, MINUTE)],
)
def test_a_point_stands_for_whole_minutes(span: int, points: int, step: int) -> None:
    assert choose_step(DAY, DAY + span, points) == step


@given(since=some.integers(0, 1 << 45), span=some.integers(1, 400 * DAY), points=some.integers(2, 2000))
def test_no_range_has_more_points_than_asked_for(since: int, span: int, points: int) -> None:
    step = choose_step(since, since + span, points)

    assert (since + span - 1) // step - since // step + 1 <= points
