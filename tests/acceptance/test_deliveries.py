"""Webhooks during a restart, with real processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from harness.live_gateway import Live
from harness.waiting import until_sync
from harness.webhook_receiver import receiving_elsewhere

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]

ECHO = {"id": "main", "backend": "echo", "script": True, "max_concurrent": 32}


def submit(live: Live, text: str, url: str) -> str:
    answer = live.call("POST", "/api/tasks", {"input": text, "webhook": url})
    assert answer.status == 202
    return str(answer.body["task"]["id"])


def delivered(live: Live, count: int) -> Callable[[], bool]:
    def look() -> bool:
        found: list[Any] = live.call("GET", "/api/deliveries?limit=500").body["deliveries"]
        return [delivery["status"] for delivery in found] == ["delivered"] * count

    return look


def test_over_a_restart_all_is_delivered_and_nothing_by_two_processes_at_once(live: Callable[..., Live]) -> None:
    with receiving_elsewhere() as elsewhere:
        receiver = elsewhere.receiver
        receiver.otherwise = "slow"
        one = live(config={"agents": {"list": [ECHO]}}).start()
        tasks = [submit(one, "@@ say quick", receiver.url) for _ in range(24)]
        # These runs end in the old process, while the new one sends deliveries already.
        tasks += [submit(one, "@@ sleep 2\n@@ say slow", receiver.url) for _ in range(2)]
        until_sync(lambda: len(receiver.requests) >= 2, "some deliveries have arrived")
        old = one.generation

        assert one.call("POST", "/api/gateway/restart", {}).status == 202

        until_sync(lambda: old not in one.generations, "the old process has gone")
        until_sync(delivered(one, len(tasks)), "all are delivered")
        assert one.stop() == 0

    assert {request.json["data"]["id"] for request in receiver.requests} == set(tasks)
    assert (len(receiver.ids), receiver.overlapping) == (len(tasks), set())
