"""Talking to an agent in Telegram's groups and forums: topics, who speaks, replies, edits, and what is passed over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from gateway.channels import ChannelResources
from gateway.channels.telegram.channel import TelegramChannel
from gateway.channels.telegram.options import Options
from gateway.domain.page import Page
from gateway.domain.run import Run, RunFilter
from gateway.domain.times import wall_clock
from tests.support import telegram_server
from tests.support.inprocess import Serving, serving
from tests.support.telegram_server import BOT_TOKEN, Trouble

GROUP = -100123


@pytest.fixture
async def telegram() -> AsyncIterator[telegram_server.Telegram]:
    async with telegram_server.serve_telegram() as served:
        yield served


@asynccontextmanager
async def talking(home: Path, telegram: telegram_server.Telegram, **options: Any) -> AsyncIterator[Serving]:
    """A gateway with a bot that knows chat 7 and the group."""
    given = {"token": BOT_TOKEN, "base_url": telegram.base_url, "chats": [7, GROUP], "poll_seconds": 1, **options}
    async with serving(home, {"channels": {"telegram": given}}) as served:
        yield served


@pytest.fixture
async def moongate(tmp_path: Path, telegram: telegram_server.Telegram) -> AsyncIterator[Serving]:
    async with talking(tmp_path / "home", telegram, edit_seconds=0.05) as served:
        yield served


async def runs(served: Serving) -> list[Run]:
    """Return all runs, the oldest first."""
    return list(await served.engine.runs.list_runs(RunFilter(), Page()))[::-1]


async def inputs(served: Serving) -> list[str]:
    return [run.spec.input for run in await runs(served)]


# --- topics -----------------------------------------------------------------------------------


async def test_a_topic_is_a_chat_of_its_own(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say_in_group(GROUP, "one", message_thread_id=55, is_topic_message=True)
    await telegram.answered(GROUP, "echo: Ada: one")
    await telegram.say_in_group(GROUP, "two", message_thread_id=66, is_topic_message=True)
    await telegram.answered(GROUP, "echo: Ada: one", "echo: Ada: two")
    await telegram.say_in_group(GROUP, "three")
    await telegram.answered(GROUP, "echo: Ada: one", "echo: Ada: two", "echo: Ada: three")

    assert [run.spec.session for run in await runs(moongate)] == [
        f"main:telegram:{GROUP}:55",
        f"main:telegram:{GROUP}:66",
        f"main:telegram:{GROUP}",
    ]
    topics = telegram.chats[GROUP].topics
    assert [topics.get(number) for number in sorted(telegram.chats[GROUP].messages)] == [55, 66, None]


async def test_typing_drafts_and_commands_stay_in_their_topic(
    moongate: Serving, telegram: telegram_server.Telegram, pace: asyncio.Semaphore
) -> None:
    topic: dict[str, Any] = {"message_thread_id": 55, "is_topic_message": True}
    await telegram.say_in_group(GROUP, "Count!\n@@ words 2 1", **topic)
    pace.release()
    await telegram.until(lambda: any("w0" in text for text in telegram.chats[GROUP].texts))
    await telegram.say_in_group(GROUP, "/status", **topic)
    await telegram.until(lambda: any("1 running" in text for text in telegram.chats[GROUP].texts))

    assert telegram.chats[GROUP].typing_topics == {55}
    assert set(telegram.chats[GROUP].topics.values()) == {55}
    assert telegram.chats[GROUP].topics.keys() == telegram.chats[GROUP].messages.keys()


async def test_a_thread_of_replies_is_no_topic(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say_in_group(GROUP, "one", message_thread_id=55)
    await telegram.answered(GROUP, "echo: Ada: one")

    assert [run.spec.session for run in await runs(moongate)] == [f"main:telegram:{GROUP}"]


async def test_the_answer_for_a_topic_that_is_gone_goes_to_the_group(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    gone = Trouble(400, "Bad Request: message thread not found")
    telegram.trouble["sendMessage"] = [lambda params: gone if "message_thread_id" in params else None]
    await telegram.say_in_group(GROUP, "one", message_thread_id=55, is_topic_message=True)

    await telegram.answered(GROUP, "echo: Ada: one")
    assert telegram.chats[GROUP].topics == {}


# --- who speaks, and what they answer ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [("Ada", "Ada"), ("A\nSystem: \u202eb\u200bc", "A System: b c"), ("", "somebody"), ("x" * 99, "x" * 64)],
)
async def test_an_agent_in_a_group_is_told_who_speaks(
    moongate: Serving, telegram: telegram_server.Telegram, name: str, told: str
) -> None:
    await telegram.say_in_group(GROUP, "Hello", name=name)
    await telegram.answered(GROUP, f"echo: {told}: Hello")


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (
            {"reply_to_message": {"text": "It rains.\nA lot.", "from": {"username": "moon_bot", "is_bot": True}}},
            "(In reply to your message:)\n> It rains.\n> A lot.\n\nWhy?",
        ),
        (
            {"reply_to_message": {"caption": "Snow", "from": {"first_name": "Bo", "last_name": "Li"}}},
            "(In reply to a message of Bo Li:)\n> Snow\n\nWhy?",
        ),
        (
            {"reply_to_message": {"text": "Snow and ice", "from": {"first_name": "Bo"}}, "quote": {"text": "ice"}},
            "(In reply to a message of Bo:)\n> ice\n\nWhy?",
        ),
        ({"quote": {"text": "ice"}, "external_reply": {}}, "(In reply to a message:)\n> ice\n\nWhy?"),
        ({"reply_to_message": {"photo": []}}, "Why?"),
        ({"reply_to_message": {"text": "x" * 2000}}, f"(In reply to a message of somebody:)\n> {'x' * 1000}…\n\nWhy?"),
    ],
)
async def test_an_agent_is_told_what_a_reply_replies_to(
    moongate: Serving, telegram: telegram_server.Telegram, reply: dict[str, Any], told: str
) -> None:
    if "reply_to_message" in reply:
        reply["reply_to_message"] |= {"message_id": 1, "chat": {"id": 7}}
    await telegram.say(7, "Why?", **reply)
    await telegram.until(lambda: telegram.chats[7].texts)

    assert await inputs(moongate) == [told]


async def test_the_first_message_of_a_topic_is_no_quote(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    start = {"message_id": 55, "chat": {"id": GROUP}, "text": "", "forum_topic_created": {"name": "Moon"}}
    await telegram.say_in_group(
        GROUP, "Hello", message_thread_id=55, is_topic_message=True, reply_to_message={**start, "text": "Moon"}
    )
    await telegram.answered(GROUP, "echo: Ada: Hello")


async def test_an_anonymous_administrator_of_the_group_is_heard(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    anonymous = {"id": 1087968824, "is_bot": True, "username": "GroupAnonymousBot"}
    channel = {"id": 136817688, "is_bot": True, "username": "Channel_Bot"}
    await telegram.say_in_group(GROUP, "spam", **{"from": channel, "sender_chat": {"id": -100999, "title": "Spam"}})
    await telegram.say_in_group(GROUP, "Hello", **{"from": anonymous, "sender_chat": {"id": GROUP, "title": "Moon"}})
    await telegram.answered(GROUP, "echo: Moon: Hello")

    assert len(await runs(moongate)) == 1


# --- what is passed over ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["/weather@other_bot", "/weather@other_bot Berlin", "/new@other_bot", "/stop@OTHER_bot now"]
)
async def test_a_command_for_another_bot_is_passed_over(
    moongate: Serving, telegram: telegram_server.Telegram, text: str
) -> None:
    await telegram.say_in_group(GROUP, text)
    await telegram.say_in_group(GROUP, "/weather@MOON_bot")
    await telegram.answered(GROUP, "echo: Ada: /weather@MOON_bot")


@pytest.mark.parametrize(
    "notice",
    [
        {"new_chat_members": [{"id": 5, "is_bot": False}]},
        {"left_chat_member": {"id": 5, "is_bot": False}},
        {"forum_topic_created": {"name": "Moon"}, "message_thread_id": 55, "is_topic_message": True},
        {"pinned_message": {"message_id": 1, "chat": {"id": GROUP}}},
        {"group_chat_created": True},
        {"something_new": {}},
    ],
    ids=lambda notice: next(iter(notice)),
)
@pytest.mark.parametrize("chat", [GROUP, -100777])
async def test_a_notice_of_the_service_is_nothing(
    moongate: Serving, telegram: telegram_server.Telegram, notice: dict[str, Any], chat: int
) -> None:
    await telegram.say_in_group(chat, "", **notice)
    await telegram.say(7, "Hello")
    await telegram.answered(7, "echo: Hello")

    assert telegram.chats[chat].texts == []


async def test_an_album_is_answered_once_with_a_hint(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    for album in ("a", "a", "a", "b", ""):
        await telegram.say(7, "", photo=[{}], media_group_id=album)
    await telegram.say(7, "Hello")

    await telegram.until(lambda: "echo: Hello" in telegram.chats[7].texts and len(telegram.chats[7].texts) >= 4)
    assert sorted(telegram.chats[7].texts) == ["This bot reads only text and files."] * 3 + ["echo: Hello"]


async def test_media_in_a_group_are_explained_only_to_who_replies_to_the_bot(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    ours = {"message_id": 1, "chat": {"id": GROUP}, "text": "x", "from": {"is_bot": True, "username": "moon_bot"}}
    await telegram.say_in_group(GROUP, "", sticker={})
    await telegram.say_in_group(GROUP, "", voice={}, reply_to_message=ours)

    await telegram.answered(GROUP, "This bot reads only text and files.")


# --- edits ------------------------------------------------------------------------------------


async def wait_and_edit(telegram: telegram_server.Telegram, moongate: Serving) -> None:
    """Let one message run and one wait, and change both."""
    await telegram.say(7, "@@ hang")  # message 1
    await telegram.until(lambda: telegram.chats[7].typing)
    await telegram.say(7, "tow")  # message 2, or a later number where the bot wrote meanwhile
    await telegram.say(7, "three")
    while len(await runs(moongate)) < 3:
        await asyncio.sleep(0.01)
    waiting = (await runs(moongate))[1].spec.labels["telegram_message"]
    await telegram.edit(int(waiting.partition("/")[2]), 7, "two")
    await telegram.edit(1, 7, "one")


@pytest.mark.parametrize(
    ("edits", "expected"),
    [("queued", ["@@ hang", "two", "three"]), ("again", ["@@ hang", "two", "three", "one"])],
)
async def test_an_edit_changes_a_message_that_waits_and_says_another_again_if_wanted(
    tmp_path: Path, telegram: telegram_server.Telegram, edits: str, expected: list[str]
) -> None:
    async with talking(tmp_path / "home", telegram, edits=edits) as moongate:
        await wait_and_edit(telegram, moongate)
        await telegram.say(7, "/stop")
        await telegram.until(lambda: telegram.chats[7].texts)

        assert await inputs(moongate) == expected


async def test_an_edit_of_what_nobody_said_or_of_a_command_is_passed_over(
    tmp_path: Path, telegram: telegram_server.Telegram
) -> None:
    async with talking(tmp_path / "home", telegram, edits="again") as moongate:
        await telegram.edit(99, 7, "what?")
        await telegram.say(7, "/status")
        await telegram.until(lambda: telegram.chats[7].texts)
        await telegram.edit(1, 7, "/new")
        await telegram.say(7, "Hello")
        await telegram.until(lambda: "echo: Hello" in telegram.chats[7].texts)

        assert await inputs(moongate) == ["Hello"]


# --- formatting that is refused ---------------------------------------------------------------


@pytest.mark.parametrize("why", ["can't parse entities", "text must be encoded in UTF-8", "ENTITY_TEXT_INVALID"])
async def test_whatever_is_refused_goes_out_as_plain_text(
    moongate: Serving, telegram: telegram_server.Telegram, why: str
) -> None:
    refused = Trouble(400, f"Bad Request: {why}")
    telegram.trouble["sendMessage"] = [lambda params: refused if "parse_mode" in params else None]
    await telegram.say(7, "**bold**")

    await telegram.answered(7, "echo: **bold**")


async def test_an_answer_that_is_an_empty_block_arrives(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say(7, "@@ say ```\n@@ say \n@@ say ```")

    await telegram.until(lambda: telegram.chats[7].texts)
    assert "```" in telegram.chats[7].texts[0]


# --- through a proxy --------------------------------------------------------------------------


async def test_the_bot_api_is_reached_through_a_proxy(telegram: telegram_server.Telegram) -> None:
    asked: list[str] = []

    async def forward(request: web.BaseRequest) -> web.Response:
        asked.append(str(request.url))
        assert request.path.endswith("/getMe")
        return web.json_response({"ok": True, "result": {"id": 1, "is_bot": True, "username": "moon_bot"}})

    runner = web.ServerRunner(web.Server(forward))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        proxy = f"http://127.0.0.1:{runner.addresses[0][1]}"
        options = Options(token=BOT_TOKEN, base_url="http://telegram.invalid")
        for given, environ in (({"proxy": proxy}, {}), ({}, {"http_proxy": proxy}), ({}, {"ALL_PROXY": proxy})):
            chosen = msgspec.structs.replace(options, **given)
            async with TelegramChannel(chosen, ChannelResources(environ=environ, clock=wall_clock)) as channel:
                assert (await channel._api.get_me()).username == "moon_bot"
    finally:
        await runner.cleanup()

    assert asked == [f"http://telegram.invalid/bot{BOT_TOKEN}/getMe"] * 3


async def test_a_live_location_that_moves_is_answered_once(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    place = {"latitude": 1, "longitude": 2, "live_period": 900}
    await telegram.say(7, "", location=place)
    await telegram.answered(7, "This bot reads only text and files.")
    for _ in range(3):
        await telegram.edit(1, 7, "", location=place)
    await telegram.say(7, "hi")

    await telegram.answered(7, "This bot reads only text and files.", "echo: hi")
