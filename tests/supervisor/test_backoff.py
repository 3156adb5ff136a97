"""The time to wait before a crashed generation is replaced."""

from __future__ import annotations

from gateway.supervisor import backoff


def test_the_first_crash_has_no_delay_and_then_it_doubles_up_to_a_minute() -> None:
    waits = [backoff.restart_delay(crashes, lambda: 1.0) for crashes in range(12)]

    assert waits[:6] == [0.0, 0.0, 0.5, 1.0, 2.0, 4.0]
    assert max(waits) == backoff.restart_delay(10_000, lambda: 1.0) == backoff.MAX_DELAY_SECONDS


def test_a_quarter_is_random() -> None:
    assert backoff.restart_delay(3, lambda: 0.0) == 0.75
