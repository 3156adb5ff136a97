"""What the drills conclude from their figures: a leak is found, and a process that has settled is not called one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from drills.soak import (
    LEVEL_AFTER_PIECES,
    LEVEL_MEGABYTES,
    LEVEL_SHOWN_FACTOR,
    SPARE,
    STEADY,
    Sample,
    draw_curve,
    judge,
)

ENOUGH = LEVEL_SHOWN_FACTOR * LEVEL_AFTER_PIECES


def make_samples(megabytes: Iterable[float], last: int = ENOUGH) -> list[Sample]:
    """Return samples at equal distances, up to `last` pieces of work."""
    values = list(megabytes)
    return [
        Sample(last * number // len(values), one, descriptors=30, threads=10, children=0)
        for number, one in enumerate(values, 1)
    ]


def test_memory_that_is_level_after_the_first_pieces_is_no_leak() -> None:
    judge(make_samples([80, 100, 98, 100 + LEVEL_MEGABYTES, 101, 99, 103, 104]), strict=True)


@pytest.mark.parametrize("last", [[106.0, 107.0], [107.0, 100.0]])
def test_memory_that_grows_later_is_a_leak_also_if_it_falls_again(last: list[float]) -> None:
    samples = make_samples([80, 101, 102, 103, 104, 105, *last])

    with pytest.raises(AssertionError, match=r"memory grows: 80 \(25,000\), 101 \(50,000\), .* \(200,000\)$"):
        judge(samples, strict=True)
    judge(samples, strict=False)


def test_a_run_that_is_too_short_shows_nothing() -> None:
    with pytest.raises(AssertionError, match="too few pieces to tell"):
        judge(make_samples(itertools.repeat(100.0, 8), last=ENOUGH - 1), strict=True)


@pytest.mark.parametrize(("field", "more"), [("descriptors", STEADY + 1), ("threads", STEADY + 1), ("children", 1)])
def test_what_is_added_in_the_second_half_is_a_leak(field: str, more: int) -> None:
    samples = make_samples(itertools.repeat(100.0, 8))
    samples[-1] = samples[-1]._replace(**{field: getattr(samples[-1], field) + more})

    with pytest.raises(AssertionError):
        judge(samples, strict=True)


def test_the_short_form_allows_what_is_created_at_its_first_use() -> None:
    samples = make_samples([100, 130, 130], last=100)
    samples[-1] = samples[-1]._replace(descriptors=samples[0].descriptors + SPARE)
    judge(samples, strict=False)
    samples[-1] = samples[-1]._replace(descriptors=samples[-1].descriptors + 1)

    with pytest.raises(AssertionError):
        judge(samples, strict=False)


def test_the_figures_of_few_samples_tell_all_of_them() -> None:
    assert draw_curve(make_samples([80.4, 90], last=100)) == "80 (50), 90 (100)"
