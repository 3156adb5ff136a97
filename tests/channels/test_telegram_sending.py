"""What the Telegram channel sends, and what it does when Telegram does not take it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.channels import ChannelResources
from gateway.channels.telegram import sending as telegram_sending
from gateway.channels.telegram.channel import TelegramChannel
from gateway.channels.telegram.options import Options, derive_webhook_secret, find_token
from gateway.domain.delivery import Delivered, PermanentFailure, RetryLater
from gateway.domain.ports.channel import OutgoingMessage
from gateway.errors import ConfigError
from tests.channels.context import MemoryChannelContext
from tests.contracts.stores import START, SteppedClock
from tests.support import telegram_server
from tests.support.telegram_server import BOT_TOKEN, Trouble


@pytest.fixture
async def telegram() -> AsyncIterator[telegram_server.Telegram]:
    async with telegram_server.serve_telegram() as served:
        yield served


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def context() -> MemoryChannelContext:
    return MemoryChannelContext()


@pytest.fixture
async def channel(telegram: telegram_server.Telegram, clock: SteppedClock) -> AsyncIterator[TelegramChannel]:
    options = Options(token=BOT_TOKEN, base_url=telegram.base_url, chats=[7])
    async with TelegramChannel(options, ChannelResources(environ={}, clock=clock)) as opened:
        yield opened


def answer(text: str = "Hello", **fields: Any) -> OutgoingMessage:
    return OutgoingMessage(**{"id": "d1", "run": "r1", "chat": "7", "text": text, "at": START, **fields})


async def test_an_answer_is_one_message(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    await channel.send_message(answer("1 < 2 & `code`"), context)

    assert telegram.chats[7].texts == ["1 < 2 & code"]


async def test_a_plain_text_is_shown_as_it_is(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    await channel.send_message(
        answer("broke in __init__.py of *main* [here](https://x.example)", is_plain=True), context
    )

    assert telegram.chats[7].texts == ["broke in __init__.py of *main* [here](https://x.example)"]


async def test_a_long_answer_comes_in_parts_in_order(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    words = [f"word{number}" for number in range(2000)]
    await channel.send_message(answer(" ".join(words)), context)

    assert len(telegram.chats[7].texts) > 3
    assert " ".join(telegram.chats[7].texts).split() == words


async def test_an_empty_answer_is_sent_as_a_notice(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    await channel.send_message(answer(" "), context)

    assert telegram.chats[7].texts == ["(The answer is empty.)"]


async def test_a_refused_format_is_replaced_by_plain_text(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    telegram.trouble["sendMessage"].append(
        lambda params: Trouble(400, "Bad Request: can't parse entities") if "parse_mode" in params else None
    )
    await channel.send_message(answer("**bold** and `code`"), context)

    assert telegram.chats[7].texts == ["**bold** and `code`"]


async def test_a_try_continues_where_the_last_one_was_interrupted(
    telegram: telegram_server.Telegram,
    channel: TelegramChannel,
    context: MemoryChannelContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paragraphs = [f"{number} " + "x" * 4000 for number in range(4)]
    telegram.trouble["sendMessage"] += [
        lambda params: Trouble(0, "", cut="before") if params["text"].startswith("2") and not again else None
    ]
    again: list[bool] = []
    monkeypatch.setattr(telegram_sending, "UNREACHABLE_RETRY_SECONDS", ())
    assert isinstance(await channel.send_message(answer("\n\n".join(paragraphs)), context), RetryLater)
    again.append(True)
    await channel.send_message(answer("\n\n".join(paragraphs)), context)

    assert telegram.chats[7].texts == paragraphs


async def test_an_answer_that_was_sent_whole_is_not_sent_again(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    await channel.send_message(answer(), context)
    await channel.send_message(answer(), context)

    assert telegram.chats[7].texts == ["Hello"]


async def test_the_draft_becomes_the_answer(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    telegram.chats[7].messages[1] = "Hel"
    context.notes["draft:r1"] = "7 1"
    await channel.send_message(answer(), context)

    assert telegram.chats[7].messages == {1: "Hello"}


async def test_a_deleted_draft_is_replaced_by_a_new_message(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    context.notes["draft:r1"] = "7 1"
    await channel.send_message(answer(), context)

    assert telegram.chats[7].texts == ["Hello"]


async def test_the_draft_of_another_chat_is_not_edited(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    telegram.chats[8].messages[1] = "Hel"
    context.notes["draft:r1"] = "8 1"
    await channel.send_message(answer(), context)

    assert (telegram.chats[7].texts, telegram.chats[8].texts) == (["Hello"], ["Hel"])


async def test_a_short_wait_that_telegram_asks_for_is_kept(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    telegram.trouble["sendMessage"].append(Trouble(429, "Too Many Requests: retry after 1", retry_after=1))
    await channel.send_message(answer(), context)

    assert telegram.chats[7].texts == ["Hello"]


async def test_a_long_wait_is_left_to_the_next_try(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    telegram.trouble["sendMessage"].append(Trouble(429, "Too Many Requests: retry after 300", retry_after=300))
    receipt = await channel.send_message(answer(), context)

    assert isinstance(receipt, RetryLater)
    assert receipt.retry_after == 300


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(403, "Forbidden: bot was blocked by the user"),
        Trouble(400, "Bad Request: chat not found"),
    ],
    ids=lambda trouble: trouble.description,
)
async def test_a_chat_that_takes_nothing_is_not_tried_again(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext, trouble: Trouble
) -> None:
    telegram.trouble["sendMessage"].append(trouble)
    receipt = await channel.send_message(answer(), context)

    assert isinstance(receipt, PermanentFailure)
    assert trouble.description in receipt.reason


@pytest.mark.parametrize(
    "trouble", [Trouble(401, "Unauthorized"), Trouble(502, "Bad Gateway"), Trouble(0, "", cut="before")]
)
async def test_a_temporary_failure_is_tried_again(
    telegram: telegram_server.Telegram,
    channel: TelegramChannel,
    context: MemoryChannelContext,
    trouble: Trouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telegram_sending, "UNREACHABLE_RETRY_SECONDS", ())
    telegram.trouble["sendMessage"].append(trouble)
    receipt = await channel.send_message(answer(), context)

    assert isinstance(receipt, RetryLater)
    assert BOT_TOKEN not in receipt.reason


@pytest.mark.parametrize("trouble", [Trouble(502, "Bad Gateway"), Trouble(0, "", cut="before")])
async def test_a_short_cut_of_the_network_is_waited_out(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext, trouble: Trouble
) -> None:
    telegram.trouble["sendMessage"].append(trouble)

    assert await channel.send_message(answer(), context) == Delivered()
    assert telegram.chats[7].texts == ["Hello"]


async def test_answers_to_one_chat_do_not_mix(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    long = [f"{name}{number} " + "x" * 4000 for name in "ab" for number in range(3)]
    await asyncio.gather(
        channel.send_message(answer("\n\n".join(long[:3]), id="d1"), context),
        channel.send_message(answer("\n\n".join(long[3:]), id="d2", run="r2"), context),
    )

    assert telegram.chats[7].texts == long


async def test_a_group_that_has_moved_is_followed(
    telegram: telegram_server.Telegram, channel: TelegramChannel, context: MemoryChannelContext
) -> None:
    moved = "Bad Request: group chat was upgraded to a supergroup chat"
    telegram.trouble["sendMessage"].append(Trouble(400, moved, migrate_to=-1007))
    await channel.send_message(answer(), context)

    assert telegram.chats[-1007].texts == ["Hello"]
    assert context.moves == [("7", "-1007")]


@pytest.mark.parametrize(("seconds", "sent"), [(3599, True), (3601, False)])
async def test_a_stale_answer_is_kept_back(
    telegram: telegram_server.Telegram,
    channel: TelegramChannel,
    context: MemoryChannelContext,
    clock: SteppedClock,
    seconds: int,
    sent: bool,
) -> None:
    clock.forward(seconds * 1000)
    receipt = await channel.send_message(answer(), context)

    assert isinstance(receipt, Delivered if sent else PermanentFailure)
    assert telegram.chats[7].texts == (["Hello"] if sent else [])


# --- settings ---------------------------------------------------------------------------------


def test_the_token_may_stand_in_a_file_or_a_variable(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{BOT_TOKEN}\n")

    assert find_token(Options(token_file=str(tmp_path / "token")), {}) == BOT_TOKEN
    assert find_token(Options(), {"TELEGRAM_BOT_TOKEN": BOT_TOKEN}) == BOT_TOKEN


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(), "no bot token"),
        (Options(token="not a token"), "a number, a colon"),
        (Options(token=BOT_TOKEN, mode="webhook"), "webhook_url"),
    ],
)
def test_options_that_cannot_work_are_refused(options: Options, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_token(options, {})


def test_the_webhook_secret_does_not_reveal_the_token() -> None:
    assert BOT_TOKEN[10:20] not in derive_webhook_secret(BOT_TOKEN)
    assert len(derive_webhook_secret(BOT_TOKEN)) == 64
