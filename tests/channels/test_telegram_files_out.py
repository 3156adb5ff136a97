"""The files of answers in Telegram: as what they are sent, what happens to those that are refused, and restarts."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.channels import ChannelResources
from gateway.channels.telegram import outgoing, sending
from gateway.channels.telegram.channel import TelegramChannel
from gateway.channels.telegram.options import Options
from gateway.channels.telegram.outgoing import FileMethod
from gateway.domain.delivery import Delivered, PermanentFailure, RetryLater
from gateway.domain.file import File
from gateway.domain.ports.channel import OutgoingMessage
from tests.api.client import ask
from tests.channels.context import MemoryChannelContext
from tests.contracts.stores import START, SteppedClock
from tests.support import telegram_server
from tests.support.inprocess import serving
from tests.support.telegram_server import BOT_TOKEN, Received, Telegram, Trouble


@pytest.fixture
async def telegram() -> AsyncIterator[Telegram]:
    async with telegram_server.serve_telegram() as served:
        yield served


@pytest.fixture
def context() -> MemoryChannelContext:
    return MemoryChannelContext()


@pytest.fixture
async def channel(telegram: Telegram) -> AsyncIterator[TelegramChannel]:
    options = Options(token=BOT_TOKEN, base_url=telegram.base_url, chats=[7])
    async with TelegramChannel(options, ChannelResources(environ={}, clock=SteppedClock())) as opened:
        yield opened


@pytest.fixture
def make_file(tmp_path: Path, context: MemoryChannelContext) -> Any:
    """Return a function that makes a file that an answer can have."""

    def make(name: str, media_type: str, content: bytes = b"content") -> File:
        file = File(id=f"f{len(context.contents)}", name=name, media_type=media_type, size=len(content), sha256="")
        context.contents[file.id] = tmp_path / file.id
        context.contents[file.id].write_bytes(content)
        return file

    return make


def answer(text: str, *files: File, **fields: Any) -> OutgoingMessage:
    return OutgoingMessage(
        **{"id": "d1", "run": "r1", "chat": "7", "text": text, "at": START, "files": files, **fields}
    )


def received(telegram: Telegram, chat: int = 7) -> list[Received]:
    return [file for _, file in sorted(telegram.chats[chat].files.items())]


@pytest.mark.parametrize(
    ("media_type", "size", "method"),
    [
        ("image/png", 10_000_000, FileMethod.SEND_PHOTO),
        ("image/jpeg", 1, FileMethod.SEND_PHOTO),
        ("image/webp", 1, FileMethod.SEND_PHOTO),
        ("image/png", 10_000_001, FileMethod.SEND_DOCUMENT),
        ("image/gif", 20_000_000, FileMethod.SEND_ANIMATION),
        ("image/svg+xml", 1, FileMethod.SEND_DOCUMENT),
        ("application/pdf", 1, FileMethod.SEND_DOCUMENT),
    ],
)
def test_a_picture_is_sent_as_a_photo_and_everything_else_as_a_document(
    media_type: str, size: int, method: FileMethod
) -> None:
    file = File(id="1", name="x", media_type=media_type, size=size, sha256="")

    assert outgoing.choose_method(file) is method


async def test_files_follow_the_text_in_their_order(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any
) -> None:
    files = make_file("chart.png", "image/png", b"png"), make_file("Bericht für Ü.pdf", "application/pdf", b"pdf")
    await channel.send_message(answer("Here:", *files), context)

    assert telegram.chats[7].texts == ["Here:"]
    assert received(telegram) == [
        Received("photo", "chart.png", "image/png", b"png"),
        Received("document", "Bericht für Ü.pdf", "application/pdf", b"pdf"),
    ]
    assert min(telegram.chats[7].messages) < min(telegram.chats[7].files)


async def test_an_answer_without_a_text_is_only_its_files(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any
) -> None:
    await channel.send_message(answer("", make_file("dance.gif", "image/gif")), context)

    assert telegram.chats[7].texts == []
    assert [file.kind for file in received(telegram)] == ["animation"]


async def test_the_draft_of_an_answer_without_a_text_does_not_go_on_asking(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any
) -> None:
    telegram.chats[7].messages[1] = "The agent asks to be allowed: dig"
    telegram.chats[7].buttons[1] = {"Allow": "x"}
    context.notes["draft:r1"] = "7 1"
    await channel.send_message(answer("", make_file("chart.png", "image/png")), context)

    assert telegram.chats[7].texts == ["(The answer has only files.)"]
    assert not telegram.chats[7].buttons[1]
    assert len(received(telegram)) == 1


async def test_an_empty_file_is_named_in_the_text(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any
) -> None:
    await channel.send_message(answer("Here:", make_file("log.txt", "text/plain", b"")), context)

    assert telegram.chats[7].texts == ["Here:\n\n(The file log.txt is empty.)"]
    assert telegram.count("sendDocument") == 0


@pytest.mark.parametrize(
    ("base_url", "most"),
    [
        ("https://api.telegram.org", 50_000_000),
        ("https://api.telegram.org/", 50_000_000),
        ("http://own", 2_000_000_000),
    ],
)
async def test_a_file_that_is_too_large_for_the_server_is_named_in_the_text(
    telegram: Telegram, context: MemoryChannelContext, base_url: str, most: int
) -> None:
    options = Options(token=BOT_TOKEN, base_url=base_url)
    sender = TelegramChannel(options, ChannelResources(environ={}, clock=SteppedClock()))._sender
    files = [
        File(id=str(size), name="film.mp4", media_type="video/mp4", size=size, sha256="") for size in (most, most + 1)
    ]

    (said, kept) = sender._list_parts(answer("", *files))
    assert kept == files[0]
    assert str(said).startswith("(The file film.mp4 is too large for Telegram")


async def test_a_photo_that_is_refused_is_sent_as_a_document(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any
) -> None:
    telegram.trouble["sendPhoto"].append(Trouble(400, "Bad Request: PHOTO_INVALID_DIMENSIONS"))
    assert await channel.send_message(answer("", make_file("long.png", "image/png")), context) == Delivered()

    assert [(file.kind, file.name) for file in received(telegram)] == [("document", "long.png")]


@pytest.mark.parametrize("trouble", [Trouble(400, "Bad Request: bad file"), Trouble(413, "Request Entity Too Large")])
async def test_a_file_that_is_refused_in_the_end_is_named_in_the_chat_and_the_next_one_is_sent(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any, trouble: Trouble
) -> None:
    telegram.trouble["sendDocument"].append(trouble)
    files = make_file("a.bin", "application/zip"), make_file("b.bin", "application/zip")
    assert await channel.send_message(answer("", *files), context) == Delivered()

    assert telegram.chats[7].texts == [f"(The file a.bin could not be sent: {trouble.description})"]
    assert [file.name for file in received(telegram)] == ["b.bin"]


async def test_a_file_whose_content_is_gone_is_named_in_the_chat(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any
) -> None:
    file = make_file("a.png", "image/png")
    context.contents[file.id].unlink()
    assert await channel.send_message(answer("", file), context) == Delivered()

    assert telegram.chats[7].texts == [
        "(The file a.png could not be sent: it cannot be read: No such file or directory)"
    ]


async def test_a_chat_that_has_blocked_the_bot_gets_no_file(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any
) -> None:
    telegram.trouble["sendPhoto"].append(Trouble(403, "Forbidden: bot was blocked by the user"))
    result = await channel.send_message(answer("", make_file("a.png", "image/png")), context)

    assert isinstance(result, PermanentFailure)


async def test_a_try_continues_with_the_file_at_which_the_last_one_was_interrupted(
    telegram: Telegram,
    channel: TelegramChannel,
    context: MemoryChannelContext,
    make_file: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "UNREACHABLE_RETRY_SECONDS", ())
    broken = [True]
    telegram.trouble["sendDocument"].append(
        lambda params: Trouble(0, "", cut="before") if broken and params["document"][0] == "2" else None
    )
    message = answer("Three:", *(make_file(str(number), "text/plain") for number in (1, 2, 3)))
    result = await channel.send_message(message, context)
    broken.clear()

    assert isinstance(result, RetryLater)
    assert BOT_TOKEN not in result.reason
    assert await channel.send_message(message, context) == Delivered()
    assert telegram.chats[7].texts == ["Three:"]
    assert [file.name for file in received(telegram)] == ["1", "2", "3"]


async def test_a_wait_that_telegram_asks_for_is_kept_with_files_too(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any
) -> None:
    telegram.trouble["sendPhoto"].append(Trouble(429, "Too Many Requests: retry after 1", retry_after=1))
    await channel.send_message(answer("", make_file("a.png", "image/png")), context)

    assert [file.content for file in received(telegram)] == [b"content"]


async def test_a_file_for_a_topic_stays_in_it_and_goes_to_the_group_if_it_is_gone(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any
) -> None:
    gone = Trouble(400, "Bad Request: message thread not found")
    telegram.trouble["sendPhoto"].append(lambda params: gone if params.get("message_thread_id") == "66" else None)
    await channel.send_message(answer("", make_file("a.png", "image/png"), chat="-100:55"), context)
    await channel.send_message(answer("", make_file("b.png", "image/png"), chat="-100:66", id="d2"), context)

    assert [file.name for file in received(telegram, -100)] == ["a.png", "b.png"]
    assert list(telegram.chats[-100].topics.values()) == [55]


async def test_a_file_follows_a_group_that_has_moved(
    telegram: Telegram, channel: TelegramChannel, context: MemoryChannelContext, make_file: Any
) -> None:
    moved = Trouble(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to=-1007)
    telegram.trouble["sendPhoto"].append(moved)
    await channel.send_message(answer("", make_file("a.png", "image/png")), context)

    assert [file.name for file in received(telegram, -1007)] == ["a.png"]


async def test_a_delivery_that_is_retried_by_hand_sends_the_files(tmp_path: Path, telegram: Telegram) -> None:
    telegram.trouble["sendMessage"].append(Trouble(403, "Forbidden: bot was blocked by the user"))
    options = {"token": BOT_TOKEN, "base_url": telegram.base_url, "chats": [7], "poll_seconds": 1}
    async with serving(tmp_path, {"channels": {"telegram": options}}) as served:
        await telegram.say(7, "@@ say Here:\n@@ file a.txt one\n@@ file dance.gif GIF89a....")
        while not (dead := (await ask(served, "GET", "/api/deliveries?status=dead")).body["deliveries"]):
            await asyncio.sleep(0.01)
        assert telegram.chats[7].files == {}
        await ask(served, "POST", f"/api/deliveries/{dead[0]['id']}/retry", {})
        await telegram.until(lambda: len(telegram.chats[7].files) == 2, "the files arrived")

    assert telegram.chats[7].texts == ["Here:"]
    assert [(file.kind, file.content) for file in received(telegram)] == [
        ("document", b"one"),
        ("animation", b"GIF89a...."),
    ]


async def test_a_large_file_is_never_in_memory_whole(
    channel: TelegramChannel, context: MemoryChannelContext, make_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drop(request: Any) -> dict[str, Any]:
        """Read a call without keeping it."""
        async for _ in request.content.iter_chunked(1 << 16):
            pass
        return {"chat_id": "7", "document": ("a", "b", b"c")}

    monkeypatch.setattr(telegram_server, "_read_params", drop)
    message = answer("", make_file("large.bin", "application/zip", bytes(40_000_000)))
    tracemalloc.start()
    try:
        assert await channel.send_message(message, context) == Delivered()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8_000_000
