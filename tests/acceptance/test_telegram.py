"""Real gateways that are killed or restarted while an agent answers in Telegram, or gets and sends files there: all of
it arrives, exactly once."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from harness.live_gateway import Live
from harness.waiting import PATIENCE, until_sync
from tests.support import telegram_server
from tests.support.telegram_server import BOT_TOKEN

pytestmark = pytest.mark.slow


def words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


@pytest.fixture
async def telegram() -> AsyncIterator[telegram_server.Telegram]:
    async with telegram_server.serve_telegram() as served:
        yield served


#: a PNG of one pixel
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
#: an agent that gives back each attached file, and a chart
DRAWING_AGENT = """
import os, pathlib, sys
sys.stdin.read()
outbox = pathlib.Path(os.environ["MOONGATE_OUTBOX"])
for number, path in enumerate(os.environ.get("MOONGATE_ATTACHMENTS", "").splitlines()):
    (outbox / f"{number}-back.bin").write_bytes(pathlib.Path(path).read_bytes()[::-1])
(outbox / "chart.png").write_bytes(bytes.fromhex(sys.argv[1]))
print("Here is your chart.")
"""


def gateway(live: Callable[..., Live], telegram: telegram_server.Telegram, *more: dict[str, Any]) -> Live:
    channel = {"token": BOT_TOKEN, "base_url": telegram.base_url, "chats": [7], "poll_seconds": 2, "edit_seconds": 0.1}
    agent = {"id": "main", "backend": "echo", "script": True, "permissions": "ask"}
    return live(config={"channels": {"telegram": channel}, "agents": {"list": [*more, agent]}})


async def tasks(served: Live) -> list[dict[str, Any]]:
    answer = await asyncio.to_thread(served.call, "GET", "/api/tasks")
    found: list[dict[str, Any]] = answer.body["tasks"]
    return found


def waits(served: Live, attempt: int) -> bool:
    """Return whether an attempt of the first task waits for a permission."""
    task = served.call("GET", "/api/tasks").body["tasks"][-1]
    asked = served.call("GET", f"/api/tasks/{task['id']}/permissions").body["permissions"]
    return task["attempt"] == attempt and any(one["answer"] is None for one in asked)


@pytest.mark.both_stores(only_sqlite_on_push=True)
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


async def test_an_agent_gets_a_photo_and_its_chart_comes_back_as_one(
    live: Callable[..., Live], telegram: telegram_server.Telegram
) -> None:
    drawing = {"id": "artist", "backend": "command", "command": [sys.executable, "-c", DRAWING_AGENT, PNG.hex()]}
    served = gateway(live, telegram, drawing)
    await asyncio.to_thread(served.start)
    await telegram.send_photo(7, PNG, caption="Draw!")
    await telegram.until(lambda: len(telegram.chats[7].files) == 2, "both files arrived")

    assert telegram.chats[7].texts == ["Here is your chart."]
    assert [(file.kind, file.name, file.content) for file in telegram.chats[7].files.values()] == [
        ("document", "0-back.bin", PNG[::-1]),
        ("photo", "chart.png", PNG),
    ]


@pytest.mark.both_stores(only_sqlite_on_push=True)
async def test_an_album_during_which_the_gateway_is_killed_arrives_whole_and_once(
    live: Callable[..., Live], telegram: telegram_server.Telegram
) -> None:
    served = gateway(live, telegram)
    await asyncio.to_thread(served.start)
    contents = [PNG + bytes([number]) for number in range(4)]
    last = [await telegram.send_photo(7, content, media_group_id="a") for content in contents[:2]][-1]
    await telegram.until(
        lambda: any(call == "getUpdates" and params["offset"] > last for call, params in telegram.calls),
        "both parts are acknowledged",
    )
    await asyncio.to_thread(served.kill)
    for content in contents[2:]:
        await telegram.send_photo(7, content, media_group_id="a")
    await asyncio.to_thread(served.start)

    async def received() -> list[str]:
        return [file["name"] for task in (await tasks(served))[::-1] for file in task["attachments"]]

    # One message, unless the kill came late: how long an album waits is up to the clock.
    async with asyncio.timeout(PATIENCE):
        while len(await received()) < len(contents):
            await asyncio.sleep(0.05)
    await telegram.until(lambda: len(telegram.chats[7].texts) >= 1, "it is answered")
    assert await received() == [f"photo_{number}.jpg" for number in (1, 2, 3, 4)]


async def test_a_gateway_killed_while_it_fetches_a_photo_fetches_it_again(
    live: Callable[..., Live], telegram: telegram_server.Telegram
) -> None:
    served = gateway(live, telegram)
    await asyncio.to_thread(served.start)
    photo = telegram.keep(PNG, width=1)
    telegram.broken.add(photo["file_id"])
    await telegram.say(7, "", photo=[photo], caption="@@ read")
    await telegram.until(lambda: telegram.downloads[photo["file_id"]], "a download has begun")
    await asyncio.to_thread(served.kill)
    telegram.broken.clear()
    await asyncio.to_thread(served.start)

    await telegram.answered(7, hashlib.sha256(PNG).hexdigest())
    assert len(await tasks(served)) == 1


@pytest.mark.parametrize("how", ["kill", "restart"])
async def test_files_that_are_being_sent_when_the_gateway_ends_arrive_once(
    live: Callable[..., Live], telegram: telegram_server.Telegram, how: str
) -> None:
    served = gateway(live, telegram)
    await asyncio.to_thread(served.start)
    telegram.held.add("b.txt")
    await telegram.say(7, "@@ say Three:\n@@ file a.txt one\n@@ file b.txt two\n@@ file c.txt three")
    await telegram.until(
        lambda: any(call == "sendDocument" and params["document"][0] == "b.txt" for call, params in telegram.calls),
        "the second file is being sent",
    )
    if how == "kill":
        await asyncio.to_thread(served.kill)
        await asyncio.to_thread(served.start)
    else:
        await asyncio.to_thread(served.call, "POST", "/api/gateway/restart", {})
        await asyncio.to_thread(until_sync, lambda: served.health["generation"] == 2, "a new process serves")
    telegram.held.clear()
    await telegram.until(lambda: len(telegram.chats[7].files) >= 3, "all files arrived")
    await asyncio.to_thread(until_sync, lambda: delivered(served), "the delivery has ended")

    assert [file.content for _, file in sorted(telegram.chats[7].files.items())] == [b"one", b"two", b"three"]
    assert telegram.chats[7].texts == ["Three:"]


def delivered(served: Live) -> bool:
    found = served.call("GET", "/api/deliveries").body["deliveries"]
    return [one["status"] for one in found] == ["delivered"]
