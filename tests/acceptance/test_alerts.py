"""Real gateways: who is told of a failure, over kill -9, a flood, a refused channel and a restart."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.live_gateway import Live
from harness.waiting import until_sync
from harness.webhook_receiver import Receiver, receiving_elsewhere
from tests.support import telegram_server
from tests.support.telegram_server import BOT_TOKEN, Trouble

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and shells")]

ECHO = {"id": "main", "backend": "echo", "script": True, "max_concurrent": 32}


def gateway(live: Callable[..., Live], receiver: dict[str, Any], **settings: Any) -> Live:
    alerts = {"group_seconds": 0.2, "receivers": {"ops": {"kinds": ["run_failed"], **receiver}}, **settings}
    return live(config={"agents": {"list": [ECHO]}, "alerts": alerts})


def fail(served: Live, text: str = "no luck") -> str:
    answer = served.call("POST", "/api/tasks", {"input": f"@@ fail {text}"})
    assert answer.status == 202
    return str(answer.body["task"]["id"])


def ended(served: Live, task: str) -> Callable[[], bool]:
    return lambda: served.call("GET", f"/api/tasks/{task}").body["task"]["status"] == "failed"


def told_tasks(receiver: Receiver) -> set[str]:
    return {alert["task"] for request in receiver.requests for alert in request.json["alerts"]}


def test_a_gateway_that_is_killed_between_a_failure_and_its_alert_tells_it_after_the_next_start(
    live: Callable[..., Live],
) -> None:
    with receiving_elsewhere() as elsewhere:
        one = gateway(live, {"webhook": elsewhere.receiver.url}, group_seconds=3600).start()
        watching = json.loads(one.config.read_text())
        until_sync(lambda: one.call("GET", "/api/alerts").body["receivers"] == ["ops"], "alerts are on")
        first = fail(one, "first")
        until_sync(ended(one, first), "it has failed")
        until_sync(lambda: one.call("GET", "/api/alerts").body["messages"], "it is on disk")
        second = fail(one, "second")
        until_sync(ended(one, second), "it has failed, too")
        one.kill()
        assert elsewhere.receiver.requests == []

        watching["alerts"]["group_seconds"] = 0
        one.config.write_text(json.dumps(watching))
        one.start()
        until_sync(lambda: told_tasks(elsewhere.receiver) >= {first, second}, "both are told")
        one.stop()

    assert len(elsewhere.receiver.ids) <= 2


def test_a_gateway_that_is_killed_while_the_receiver_hangs_tells_it_again_with_the_same_id(
    live: Callable[..., Live],
) -> None:
    with receiving_elsewhere() as elsewhere:
        receiver = elsewhere.receiver
        receiver.script.append("hang")
        one = gateway(live, {"webhook": receiver.url}).start()
        fail(one)
        until_sync(lambda: receiver.requests, "the receiver has it, and says nothing")
        one.kill()
        one.start()
        until_sync(lambda: len(receiver.requests) == 2, "it comes again")
        one.stop()

    assert len(receiver.ids) == 1


def test_a_thousand_failures_are_a_few_messages_that_count_all(live: Callable[..., Live]) -> None:
    with receiving_elsewhere() as elsewhere:
        receiver = elsewhere.receiver
        one = gateway(live, {"webhook": receiver.url, "per_hour": 3}, group_seconds=1).start()
        with ThreadPoolExecutor(8) as clients:
            assert len(set(clients.map(lambda _: fail(one), range(1000)))) == 1000

        def counted() -> int:
            messages = one.call("GET", "/api/alerts").body["messages"]
            return sum(len(message["alerts"]) + message["left_out"] for message in messages)

        until_sync(lambda: counted() == 1000, "all are counted")
        one.stop()

    assert len(receiver.requests) <= 3
    assert all(len(request.json["alerts"]) <= 5 for request in receiver.requests)


def test_a_command_is_told_of_a_failure(live: Callable[..., Live], tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    one = gateway(live, {"command": ["sh", "-c", f"cat >> '{file}'"]}).start()
    task = fail(one)
    until_sync(lambda: file.exists() and file.read_text().endswith("\n"), "the command has written it")
    one.stop()

    (line,) = file.read_text().splitlines()
    assert [alert["task"] for alert in json.loads(line)["alerts"]] == [task]


@pytest.fixture
async def telegram() -> AsyncIterator[telegram_server.Telegram]:
    async with telegram_server.serve_telegram() as served:
        yield served


async def test_a_refused_bot_is_told_elsewhere_and_that_it_works_again_after_a_restart_in_between(
    live: Callable[..., Live], telegram: telegram_server.Telegram
) -> None:
    channel = {"token": BOT_TOKEN, "base_url": telegram.base_url, "chats": [7], "poll_seconds": 1}
    revoked = True
    telegram.trouble["getMe"].append(lambda _: Trouble(401, "Unauthorized") if revoked else None)
    with receiving_elsewhere() as elsewhere:
        alerts = {
            "group_seconds": 0,
            "receivers": {
                "ops": {"webhook": elsewhere.receiver.url, "kinds": ["channel"]},
                "chat": {"chat": "telegram:7", "kinds": ["channel"]},
            },
        }
        one = live(config={"agents": {"list": [ECHO]}, "channels": {"telegram": channel}, "alerts": alerts})
        await asyncio.to_thread(one.start)

        def told() -> list[str]:
            # One that was killed before it wrote down that it had told sends it again, with the same id.
            once = {request.id: request.json for request in elsewhere.receiver.requests}
            return [alert["event"] for body in once.values() for alert in body["alerts"]]

        await asyncio.to_thread(until_sync, lambda: told() == ["opened"], "it is told that the bot is refused")
        await asyncio.to_thread(one.kill)
        await asyncio.to_thread(one.start)
        revoked = False
        await asyncio.to_thread(until_sync, lambda: told() == ["opened", "ended"], "it is told that it works again")
        await telegram.until(lambda: len(telegram.chats[7].texts) >= 1, "the chat is told, now that it can be")
        assert (await asyncio.to_thread(one.call, "GET", "/api/alerts")).body["open"] == []
        await asyncio.to_thread(one.stop)
