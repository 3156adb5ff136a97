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
