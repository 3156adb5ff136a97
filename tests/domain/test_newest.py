"""A dictionary of the newest values has a limit, and what was set again counts as new."""

from __future__ import annotations

from gateway.domain.newest import MAX_NEWEST_VALUES, NewestValues


def test_the_value_that_was_set_first_goes_for_one_too_many() -> None:
    kept: NewestValues[str, int] = NewestValues(2)
    for number, key in enumerate("abac"):
        kept[key] = number

    assert dict(kept) == {"a": 2, "c": 3}


def test_without_a_number_it_keeps_a_few_hundred() -> None:
    kept: NewestValues[int, None] = NewestValues()
    for number in range(10 * MAX_NEWEST_VALUES):
        kept[number] = None

    assert len(kept) == MAX_NEWEST_VALUES
    assert 10 * MAX_NEWEST_VALUES - 1 in kept
