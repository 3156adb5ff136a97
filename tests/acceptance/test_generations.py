"""Generations, with real processes: each one's record tells why it ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.supervisor.generation import MALLOC_SETTINGS
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells what a process was given")
@pytest.mark.parametrize("env", [{}, {"MALLOC_ARENA_MAX": "3"}])
def test_a_serving_process_gets_settings_for_its_memory_unless_told_otherwise_and_agents_get_none(
    live: Callable[..., Live], env: dict[str, str]
) -> None:
    agent = {"id": "main", "backend": "command", "command": ["sh", "-c", "env"]}
    one = live(config={"agents": {"list": [agent]}}, env=env).start()
    told = Path(f"/proc/{one.generation.pid}/environ").read_bytes().split(b"\0")
    reply = one.call("POST", "/api/agent", {"message": "Hello"}).body["reply"]

    assert {f"{name}={value}".encode() for name, value in {**MALLOC_SETTINGS, **env}.items()} < set(told)
    assert "PATH=" in reply
    assert "MALLOC" not in reply


def test_a_gateway_without_a_supervisor_records_its_restarts(live: Callable[..., Live]) -> None:
    one = live(env={"MOONGATE_NO_RESPAWN": "1"}).start()
    wait_recorded(one, None)
    one.signal(signal.SIGHUP)
    second, first = wait_recorded(one, None, "restart")

    assert (first["generation"], second["generation"], first["pid"]) == (1, 2, second["pid"])
