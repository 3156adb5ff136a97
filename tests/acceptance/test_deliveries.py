"""Webhooks during a restart, with real processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from harness.command_line import Shell
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


@pytest.mark.both_stores
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


def test_a_setting_that_refuses_webhooks_in_use_is_told_by_check_restart_and_doctor(live: Callable[..., Live]) -> None:
    with receiving_elsewhere() as elsewhere:
        one = live(config={"agents": {"list": [ECHO]}})
        one.home.chmod(0o700)
        shell = Shell(one.env, one.home)
        one.start()
        shell("cron", "add", "every 1h", "hi", "--name", "nightly", "--webhook", elsewhere.receiver.url)
        fine = shell("config", "check")
        settings = json.loads(one.config.read_text())
        settings["gateway"]["host"] = "0.0.0.0"
        one.config.write_text(json.dumps(settings))

        checked, restarted, examined = shell("config", "check"), shell("restart", "--json"), shell("doctor", "--json")

        why = "127.0.0.1 is a loopback address, and webhooks.allow_private does not list it"
        assert "webhook" not in fine.err
        assert (checked.code, "'nightly'" in checked.err, why in checked.err) == (0, True, True)
        assert "webhooks.allow_private" in checked.err
        (named,) = restarted.json["refused_webhooks"]
        assert ("'nightly'" in named, elsewhere.receiver.url in named, why in named) == (True, True, True)
        (finding,) = [row for row in examined.json["findings"] if row["check"] == "webhooks"]
        assert (finding["level"], named in finding["cause"]) == ("warning", True)
        assert one.stop() == 0
        assert json.loads(shell("config", "check", "--json").out)["refused_webhooks"] == [named], "also while it rests"
