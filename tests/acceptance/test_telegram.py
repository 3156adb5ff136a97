"""Real gateways that are killed or restarted while an agent answers in Telegram: exactly one answer arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from harness.live_gateway import Live
from harness.waiting import until_sync
from tests.support import telegram_server
from tests.support.telegram_server import BOT_TOKEN

pytestmark = pytest.mark.slow


def words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


@pytest.fixture
async def telegram() -> AsyncIterator[telegram_server.Telegram]:
    async with telegram_server.serve_telegram() as served:
        yield served


def gateway(live: Callable[..., Live], telegram: telegram_server.Telegram) -> Live:
    channel = {"token": BOT_TOKEN, "base_url": telegram.base_url, "chats": [7], "poll_seconds": 2, "edit_seconds": 0.1}
    agent = {"id": "main", "backend": "echo", "script": True, "permissions": "ask"}
    return live(config={"channels": {"telegram": channel}, "agents": {"list": [agent]}})


async def tasks(served: Live) -> list[dict[str, Any]]:
    answer = await asyncio.to_thread(served.call, "GET", "/api/tasks")
    found: list[dict[str, Any]] = answer.body["tasks"]
    return found


def waits(served: Live, attempt: int) -> bool:
    """Return whether an attempt of the first task waits for a permission."""
    task = served.call("GET", "/api/tasks").body["tasks"][-1]
    asked = served.call("GET", f"/api/tasks/{task['id']}/permissions").body["permissions"]
    return task["attempt"] == attempt and any(one["answer"] is None for one in asked)


async def test_a_gateway_killed_during_a_turn_answers_once(
    live: Callable[..., Live], telegram: telegram_server.Telegram
) -> None:
    served = gateway(live, telegram)
    await asyncio.to_thread(served.start)
    await telegram.say(7, "@@ words 5 0.1\n@@ ask go on")
    await telegram.until(lambda: any("w3" in text for text in telegram.chats[7].texts), "the answer is being written")
    await asyncio.to_thread(served.kill)
    await telegram.say(7, "said while it was down")
    await asyncio.to_thread(served.start)
    await asyncio.to_thread(until_sync, lambda: waits(served, 2), "the next attempt asks")
    await telegram.say(7, "/allow")

    await telegram.answered(7, f"{words(5)} allow", "echo: said while it was down")
    assert [task["attempt"] for task in await tasks(served)] == [1, 2]


async def test_a_gateway_restarted_during_a_turn_answers_once(
    live: Callable[..., Live], telegram: telegram_server.Telegram
) -> None:
    served = gateway(live, telegram)
    await asyncio.to_thread(served.start)
    await telegram.say(7, "@@ words 4 0.1\n@@ ask go on\n@@ words 60 0.1")
    await telegram.until(lambda: any("w3" in text for text in telegram.chats[7].texts), "the answer is being written")
    await asyncio.to_thread(served.call, "POST", "/api/gateway/restart", {})
    await asyncio.to_thread(until_sync, lambda: served.health["generation"] == 2, "a new process serves")
    shown = sum(map(len, telegram.chats[7].history.values()))
    await telegram.say(7, "said meanwhile")
    await asyncio.to_thread(until_sync, lambda: waits(served, 1), "it asks")
    await telegram.say(7, "/allow")

    await telegram.answered(7, f"{words(4)} allow{words(60)}", "echo: said meanwhile")
    assert [task["attempt"] for task in await tasks(served)] == [1, 1]
    first = min(telegram.chats[7].history)
    assert len(telegram.chats[7].history[first]) > shown + 2  # the draft visibly grew
