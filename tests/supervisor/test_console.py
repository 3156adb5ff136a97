"""The log lines that are shown in the foreground."""

from __future__ import annotations

import json

from gateway.supervisor.console import Console


def line(event: str) -> bytes:
    return json.dumps({"time": "2026-01-01T00:00:00.000Z", "level": "info", "event": event}).encode()


def test_a_start_that_fails_on_a_bad_config_shows_no_line() -> None:
    shown: list[bytes] = []
    console = Console(shown.append)

    for event in ("supervisor.started", "generation.started", "generation.failed", "generation.ended"):
        console.write_line(line(event))

    assert shown == []


def test_another_line_brings_all_held_lines_in_order_and_later_ones() -> None:
    shown: list[bytes] = []
    console = Console(shown.append)
    said = [line(event) for event in ("supervisor.started", "generation.started", "gateway.ready", "generation.ended")]

    for one in [*said, b"not JSON"]:
        console.write_line(one)

    assert shown == [*said, b"not JSON"]


def test_a_generation_that_fails_is_told_in_one_line_at_the_start_and_later() -> None:
    shown: list[bytes] = []
    console = Console(shown.append)
    failed = [line(event) for event in ("generation.failed", "generation.ended", "generation.crashed")]

    for one in [line("supervisor.started"), line("generation.started"), *failed, line("generation.started"), *failed]:
        console.write_line(one)

    again = [line("generation.started"), line("generation.crashed")]
    assert shown == [line("supervisor.started"), *again, *again]


def test_a_failure_that_is_no_crash_is_told_in_all_lines() -> None:
    shown: list[bytes] = []
    console = Console(shown.append)
    said = [line(event) for event in ("gateway.ready", "generation.failed", "generation.ended", "restart.failed")]

    for one in said:
        console.write_line(one)

    assert shown == said
