"""Which of many slow cases of a test run on each push; `MOONGATE_TEST_THOROUGH=1` runs all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Tests = TypeVar("Tests", bound=Callable[..., object])


def is_thorough() -> bool:
    return bool(os.environ.get("MOONGATE_TEST_THOROUGH"))


def leave_out_on_push(tests: Tests) -> Tests:
    """Decorate a test, or a class of tests, that differs in little from another one."""
    vars_of_tests: Any = tests
    vars_of_tests.__test__ = is_thorough()
    return tests


def choose_cases(cases: Sequence[T], on_each_push: Collection[int]) -> Sequence[T]:
    """Return the cases to run.

    Args:
        on_each_push: the places of those that differ in kind.
    """
    if is_thorough():
        return cases
    return [case for place, case in enumerate(cases) if place in on_each_push]
