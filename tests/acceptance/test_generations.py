"""Generations, with real processes: each one's record tells why it ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.live_gateway import Live
from harness.waiting import until_sync

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]


def generations(live: Live) -> list[dict[str, Any]]:
    answer = live.call("GET", "/api/generations")
    assert answer.status == 200
    return list(answer.body["generations"])


def wait_recorded(live: Live, *ends: str | None) -> list[dict[str, Any]]:
    """Wait until the records end so, newest first."""
    until_sync(lambda: [one["reason"] for one in generations(live)] == list(ends), f"the records end with {ends}")
    return generations(live)


@pytest.mark.both_stores(only_sqlite_on_push=True)
def test_restarts_crashes_and_stops_are_told_apart(live: Callable[..., Live]) -> None:
    one = live().start()
    (first,) = wait_recorded(one, None)
    assert (first["generation"], first["pid"], first["ended_at"]) == (1, one.generation.pid, None)
    assert first["started_at"] <= first["ready_at"]

    assert one.call("POST", "/api/gateway/restart", {"reason": "new settings"}).status == 202
    restarted = "a new generation leads: new settings"
    one.wait_led(1)
    wait_recorded(one, None, restarted)

    one.signal(signal.SIGKILL, one.generation)
    one.wait_led(2)
    one.wait_ready()
    wait_recorded(one, None, "crashed", restarted)

    assert one.stop() == 0
    one.start()
    newest, *_, oldest = wait_recorded(one, None, "the gateway stops: SIGTERM", "crashed", restarted)
    assert newest["generation"] == oldest["generation"] == 1
    assert newest["instance"] != oldest["instance"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells what a process has mapped")
@pytest.mark.parametrize("env", [{}, {"MALLOC_ARENA_MAX": "3"}])
def test_the_threads_of_a_serving_process_share_one_heap_unless_told_otherwise(
    live: Callable[..., Live], env: dict[str, str]
) -> None:
    one = live(env=env).start()
    one.call("POST", "/api/agent", {"message": "Hello"})

    def count_heaps() -> int:
        """Return how many heaps there are in addition to the main one: glibc reserves 64 MiB for each."""
        mapped = Path(f"/proc/{one.generation.pid}/maps").read_text().splitlines()
        spans = [line.split()[0].split("-") for line in mapped if " ---p " in line]
        return sum(60 << 20 < int(end, 16) - int(begin, 16) <= 64 << 20 for begin, end in spans)

    assert count_heaps() == (2 if env else 0)


def test_a_gateway_without_a_supervisor_records_its_restarts(live: Callable[..., Live]) -> None:
    one = live(env={"MOONGATE_NO_RESPAWN": "1"}).start()
    wait_recorded(one, None)
    one.signal(signal.SIGHUP)
    second, first = wait_recorded(one, None, "restart")

    assert (first["generation"], second["generation"], first["pid"]) == (1, 2, second["pid"])
