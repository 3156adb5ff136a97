"""Failed attempts are counted for a minute, of so many addresses, and forgotten after that."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.api import failed_attempts
from gateway.api.failed_attempts import FAILED_ATTEMPT_WINDOW_SECONDS, MAX_FAILED_ATTEMPTS, FailedAttempts


class Stopped:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Told:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, event: str, **about: Any) -> None:
        self.lines.append(about)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    made = Told()
    monkeypatch.setattr(failed_attempts, "_log", made)
    return made


def test_an_attempt_is_no_longer_counted_after_the_window(told: Told) -> None:
    clock = Stopped()
    counted = FailedAttempts(clock)
    counted.count_attempt("192.0.2.1", "GET", "/")
    counted.count_attempt("192.0.2.1", "GET", "/")
    clock.now += FAILED_ATTEMPT_WINDOW_SECONDS
    counted.count_attempt("192.0.2.1", "GET", "/")

    assert [line["attempts"] for line in told.lines] == [1, 2, 1]


def test_the_address_that_was_silent_for_longest_is_forgotten_first(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_attempts, "MAX_REMEMBERED_ADDRESSES", 2)
    counted = FailedAttempts(Stopped())
    for _ in range(MAX_FAILED_ATTEMPTS):
        counted.count_attempt("192.0.2.1", "GET", "/")
    for _ in range(MAX_FAILED_ATTEMPTS):
        counted.count_attempt("192.0.2.2", "GET", "/")
    counted.count_attempt("192.0.2.1", "GET", "/")
    counted.count_attempt("192.0.2.3", "GET", "/")

    assert len(counted._attempts) == 2
    assert counted.count_attempt("192.0.2.1", "GET", "/") > 0
    assert counted.count_attempt("192.0.2.2", "GET", "/") == 0


def test_addresses_are_forgotten_when_their_attempts_no_longer_count(told: Told) -> None:
    clock = Stopped()
    counted = FailedAttempts(clock)
    for number in range(100):
        counted.count_attempt(f"203.0.113.{number}", "GET", "/")
    clock.now += FAILED_ATTEMPT_WINDOW_SECONDS / 2
    for _ in range(MAX_FAILED_ATTEMPTS):
        counted.count_attempt("192.0.2.7", "GET", "/")
    clock.now += FAILED_ATTEMPT_WINDOW_SECONDS / 2
    counted.count_attempt("198.51.100.1", "GET", "/")

    assert list(counted._attempts) == ["192.0.2.7", "198.51.100.1"]
    assert counted.count_attempt("192.0.2.7", "GET", "/") > 0, "its newer attempts still count"


def test_attempts_that_were_not_logged_are_told_once(told: Told) -> None:
    clock = Stopped()
    counted = FailedAttempts(clock)
    for number in range(failed_attempts.MAX_LOGGED_ATTEMPTS + 3):
        counted.count_attempt(f"192.0.2.{number}", "GET", "/")
    for _ in range(2):
        clock.now += FAILED_ATTEMPT_WINDOW_SECONDS
        counted.count_attempt("198.51.100.1", "GET", "/")

    assert [line.get("unlogged", 0) for line in told.lines[-2:]] == [3, 0]
