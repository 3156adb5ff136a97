"""What is shown in the foreground."""

from __future__ import annotations

import json

from gateway.supervisor.console import Console


def line(event: str) -> bytes:
    return json.dumps({"time": "2026-01-01T00:00:00.000Z", "level": "info", "event": event}).encode()


def test_a_start_that_a_bad_config_ends_shows_no_line() -> None:
    shown: list[bytes] = []
    console = Console(shown.append)

    for event in ("supervisor.started", "generation.started", "generation.failed", "generation.ended"):
        console.write_line(line(event))

    assert shown == []


def test_whatever_else_is_said_brings_all_lines_in_their_order_and_those_that_follow() -> None:
    shown: list[bytes] = []
    console = Console(shown.append)
    said = [line(event) for event in ("supervisor.started", "generation.started", "gateway.ready", "generation.ended")]

    for one in [*said, b"no JSON at all"]:
        console.write_line(one)

    assert shown == [*said, b"no JSON at all"]
