"""Files that people send in Telegram: photos, documents, albums; what is too large, and what crashes do to them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.channels.telegram import waiting
from gateway.channels.telegram.channel import TelegramChannel
from gateway.domain.page import Page
from gateway.domain.run import Run, RunFilter
from harness.waiting import PATIENCE, until
from tests.support import telegram_server
from tests.support.inprocess import Serving, serving
from tests.support.telegram_server import BOT_TOKEN, Telegram, Trouble

GROUP = -100123
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)) * 40


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
async def telegram() -> AsyncIterator[Telegram]:
    async with telegram_server.serve_telegram() as served:
        yield served


@asynccontextmanager
async def talking(
    home: Path, telegram: Telegram, more: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Serving]:
    """A gateway with a bot that knows chat 7 and the group."""
    given = {"token": BOT_TOKEN, "base_url": telegram.base_url, "chats": [7, GROUP], "poll_seconds": 1, **options}
    async with serving(home, {"channels": {"telegram": given}, **(more or {})}) as served:
        yield served


@pytest.fixture
async def moongate(tmp_path: Path, telegram: Telegram) -> AsyncIterator[Serving]:
    async with talking(tmp_path / "home", telegram) as served:
        yield served


async def runs(served: Serving) -> list[Run]:
    """Return all runs, the oldest first."""
    return list(await served.engine.runs.list_runs(RunFilter(), Page()))[::-1]


async def until_answers(telegram: Telegram, count: int, chat: int = 7) -> list[str]:
    await telegram.until(lambda: len(telegram.chats[chat].texts) >= count, f"{count} answers came")
    return telegram.chats[chat].texts


async def until_nothing_waits(served: Serving) -> None:
    """Wait until no message is noted as one that waits: its note goes a moment after its run was stored."""
    async with asyncio.timeout(PATIENCE):
        while await served.engine.channels._contexts["telegram"].list_notes("waits:"):
            await asyncio.sleep(0.01)


# --- one file ---------------------------------------------------------------------------------


async def test_an_agent_gets_the_largest_size_of_a_photo_with_its_caption(
    moongate: Serving, telegram: Telegram
) -> None:
    await telegram.send_photo(7, JPEG, caption="@@ read\n@@ say seen")
    await telegram.answered(7, f"{sha256(JPEG)}\nseen")

    (run,) = await runs(moongate)
    (file,) = run.spec.attachments
    assert (run.spec.input, file.name, file.media_type) == ("@@ read\n@@ say seen", "photo_1.jpg", "image/jpeg")


@pytest.mark.parametrize(
    ("kind", "fields", "name", "media_type", "said"),
    [
        ("document", {"file_name": "report.pdf", "mime_type": "application/pdf"}, "report.pdf", "", "(a file)"),
        ("document", {}, "document_1", "", "(a file)"),
        ("voice", {"mime_type": "audio/ogg"}, "voice_1.ogg", "audio/ogg", "(a voice message)"),
        ("audio", {"file_name": "a.mp3", "mime_type": "audio/mpeg"}, "a.mp3", "audio/mpeg", "(an audio file)"),
        ("video", {"mime_type": "video/mp4"}, "video_1.mp4", "video/mp4", "(a video)"),
        ("video_note", {}, "video_note_1.mp4", "video/mp4", "(a video message)"),
        ("sticker", {"emoji": "\U0001f319"}, "sticker_1.webp", "image/webp", "(a sticker \U0001f319)"),
        ("sticker", {"is_animated": True}, "sticker_1.tgs", "", "(a sticker)"),
        ("sticker", {"is_video": True}, "sticker_1.webm", "", "(a sticker)"),
    ],
)
async def test_each_kind_of_file_is_handed_on_with_a_name(
    moongate: Serving,
    telegram: Telegram,
    kind: str,
    fields: dict[str, Any],
    name: str,
    media_type: str,
    said: str,
) -> None:
    beginnings = {
        "audio/ogg": b"OggS\x00\x02" + bytes(50),
        "audio/mpeg": b"ID3\x04\x00" + bytes(50),
        "video/mp4": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(50),
        "image/webp": b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(50),
    }
    content = beginnings.get(media_type, b"some bytes")
    await telegram.say(7, "", **{kind: telegram.keep(content, **fields)})
    await until_answers(telegram, 1)

    (run,) = await runs(moongate)
    (file,) = run.spec.attachments
    assert (run.spec.input, file.name, file.sha256) == (said, name, sha256(content))
    assert file.media_type == (media_type or file.media_type)


async def test_an_animation_that_is_also_a_document_is_one_file(moongate: Serving, telegram: Telegram) -> None:
    kept = telegram.keep(b"GIF89a" + bytes(50), file_name="dance.gif")
    await telegram.say(7, "", animation=kept, document=kept)
    await until_answers(telegram, 1)

    (run,) = await runs(moongate)
    assert ([file.name for file in run.spec.attachments], run.spec.input) == (["dance.gif"], "(an animation)")


async def test_a_file_in_a_group_without_words_to_the_bot_is_passed_over(moongate: Serving, telegram: Telegram) -> None:
    ours = {"message_id": 1, "chat": {"id": GROUP}, "text": "x", "from": {"is_bot": True, "username": "moon_bot"}}
    await telegram.say_in_group(GROUP, "", photo=[telegram.keep(PNG)])
    await telegram.say_in_group(GROUP, "", voice=telegram.keep(b"1"), reply_to_message=ours)
    await telegram.say_in_group(GROUP, "", photo=[telegram.keep(PNG)], caption="Look!")
    await until_answers(telegram, 2, GROUP)

    assert [run.spec.input for run in await runs(moongate)] == [
        "(In reply to your message:)\n> x\n\nAda: (a voice message)",
        "Ada: Look!",
    ]


async def test_a_command_in_a_caption_is_a_command(moongate: Serving, telegram: Telegram) -> None:
    await telegram.send_photo(7, PNG, caption="/status")
    await telegram.until(lambda: any("idle" in text for text in telegram.chats[7].texts))

    assert (await runs(moongate), telegram.count("getFile")) == ([], 0)


async def test_a_stranger_s_file_is_not_fetched(moongate: Serving, telegram: Telegram) -> None:
    await telegram.send_photo(9, PNG, caption="Hello")
    await until_answers(telegram, 1, 9)

    assert (await runs(moongate), telegram.count("getFile")) == ([], 0)


async def test_what_is_said_after_a_file_is_answered_after_it(moongate: Serving, telegram: Telegram) -> None:
    await telegram.send_photo(7, PNG, caption="first", media_group_id="a")
    await telegram.say(7, "second")
    await until_answers(telegram, 2)

    assert [run.spec.input for run in await runs(moongate)] == ["first", "second"]


# --- albums -----------------------------------------------------------------------------------


async def test_an_album_is_one_message_with_all_its_files_in_order(moongate: Serving, telegram: Telegram) -> None:
    contents = [PNG + bytes([number]) for number in range(3)]
    for number, content in enumerate(contents):
        more = {"caption": "@@ read\n@@ say three"} if number == 1 else {}
        await telegram.send_photo(7, content, media_group_id="a", **more)
    await telegram.answered(7, "\n".join(map(sha256, contents)) + "\nthree")

    (run,) = await runs(moongate)
    assert [file.name for file in run.spec.attachments] == ["photo_1.jpg", "photo_2.jpg", "photo_3.jpg"]
    await until_nothing_waits(moongate)


async def test_albums_whose_parts_come_mixed_are_one_message_each(moongate: Serving, telegram: Telegram) -> None:
    for number in range(3):
        for album in ("a", "b"):
            photo = [telegram.keep(PNG + bytes([number]), width=1)]
            caption = {} if number else {"caption": album}
            await telegram.say_in_group(GROUP, "", photo=photo, media_group_id=album, **caption)
    await until_answers(telegram, 2, GROUP)

    assert [(run.spec.input, len(run.spec.attachments)) for run in await runs(moongate)] == [
        ("Ada: a", 3),
        ("Ada: b", 3),
    ]


async def test_a_move_of_a_live_location_does_not_cut_an_album(moongate: Serving, telegram: Telegram) -> None:
    await telegram.send_photo(7, PNG, media_group_id="a", caption="Both")
    await telegram.edit(500, 7, "", location={"latitude": 1})
    await telegram.say(7, "then")
    await telegram.send_photo(7, JPEG, media_group_id="a")
    await until_answers(telegram, 2)

    assert [(run.spec.input, len(run.spec.attachments)) for run in await runs(moongate)] == [("Both", 2), ("then", 0)]


@pytest.mark.parametrize("command", ["/help", "/new"])
async def test_a_command_with_a_picture_is_obeyed_and_says_that_it_takes_none(
    moongate: Serving, telegram: Telegram, command: str
) -> None:
    for number in range(3):
        caption = {"caption": command} if number == 1 else {}
        await telegram.send_photo(7, PNG + bytes([number]), media_group_id="a", **caption)
    texts = await until_answers(telegram, 3)

    assert [(run.spec.input, len(run.spec.attachments)) for run in await runs(moongate)] == [("(2 files)", 2)]
    assert texts.count("A command takes no file: it was not handed on.") == 1


async def test_an_album_without_a_caption_says_how_many_files_it_has(moongate: Serving, telegram: Telegram) -> None:
    for _ in range(2):
        await telegram.send_photo(7, PNG, media_group_id="a")
    await until_answers(telegram, 1)

    assert [run.spec.input for run in await runs(moongate)] == ["(2 files)"]


async def test_a_full_album_does_not_wait_for_more(
    moongate: Serving, telegram: Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "ALBUM_QUIET_SECONDS", 3600.0)
    for number in range(10):
        await telegram.send_photo(7, PNG + bytes([number]), media_group_id="a")
    await until_answers(telegram, 1)

    (run,) = await runs(moongate)
    assert len(run.spec.attachments) == 10


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
async def test_an_album_whose_gateway_stops_in_between_is_one_message(
    tmp_path: Path, telegram: Telegram, monkeypatch: pytest.MonkeyPatch, stopped_after: int
) -> None:
    monkeypatch.setattr(waiting, "ALBUM_QUIET_SECONDS", 3600.0)
    async with talking(tmp_path / "home", telegram) as served:
        for number in range(stopped_after):
            await telegram.send_photo(7, PNG + bytes([number]), media_group_id="a", caption=str(number))
        context = served.engine.channels._contexts["telegram"]
        while len(await context.list_notes("waits:open:")) < stopped_after:
            await asyncio.sleep(0.01)
    for number in range(stopped_after, 3):
        await telegram.send_photo(7, PNG + bytes([number]), media_group_id="a", caption=str(number))
    monkeypatch.setattr(waiting, "ALBUM_QUIET_SECONDS", 0.5)
    async with talking(tmp_path / "home", telegram) as served:
        await until_answers(telegram, 1)
        (run,) = await runs(served)

    assert run.spec.input == "0\n\n1\n\n2"
    assert len(run.spec.attachments) == 3


async def test_by_webhook_an_album_is_one_message_also_if_parts_are_posted_again(
    tmp_path: Path, telegram: Telegram, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.channels.telegram.channel.WEBHOOK_REPEAT_SECONDS", 0.0)
    gateway = {"gateway": {"port": free_port}}
    url = f"http://127.0.0.1:{free_port}"
    async with talking(tmp_path / "home", telegram, gateway, mode="webhook", webhook_url=url) as served:
        await telegram.until(lambda: telegram.webhook is not None)
        for number in range(3):
            await telegram.send_photo(7, PNG + bytes([number]), media_group_id="a", caption=str(number))
            assert await telegram.post(telegram.unconfirmed[-1]) == 200
        await until_answers(telegram, 1)
        for update in telegram.unconfirmed:
            assert await telegram.post(update) == 200
        await telegram.say(7, "then")
        await until_answers(telegram, 2)

        assert [run.spec.input for run in await runs(served)] == ["0\n\n1\n\n2", "then"]
        assert set(telegram.downloads.values()) == {1}


# --- what cannot be had -----------------------------------------------------------------------


async def test_a_file_that_telegram_does_not_hand_out_is_named_to_the_agent_and_in_the_chat(
    moongate: Serving, telegram: Telegram
) -> None:
    huge = telegram.keep(b"", file_name="film.mp4", file_size=21 << 20)
    telegram.contents[huge["file_id"]] = bytes(21 << 20)
    await telegram.say(7, "", video=huge, caption="What is this?")
    texts = await until_answers(telegram, 2)

    (run,) = await runs(moongate)
    why = "film.mp4 (22.0 MB): too large: Telegram gives bots only files of up to 20 MB"
    assert (run.spec.input, run.spec.attachments) == (f"What is this?\n\n(Not attached: {why})", ())
    assert f"Not handed on: {why}." in texts


async def test_a_file_larger_than_the_settings_allow_is_left_out_and_the_others_are_taken(
    tmp_path: Path, telegram: Telegram
) -> None:
    async with talking(tmp_path / "home", telegram, {"files": {"size": 100_000}}) as served:
        await telegram.send_photo(7, PNG, media_group_id="a", caption="Two")
        await telegram.send_photo(7, bytes(200_000), media_group_id="a")
        texts = await until_answers(telegram, 2)
        (run,) = await runs(served)

    assert [file.sha256 for file in run.spec.attachments] == [sha256(PNG)]
    assert "(Not attached: photo_2.jpg (200 kB): too large: a file may have 100000 bytes" in run.spec.input
    assert any(text.startswith("Not handed on: photo_2.jpg (200 kB): too large") for text in texts)
    assert telegram.downloads.keys() == {"file0"}


async def test_a_file_beyond_the_quota_does_not_hold_up_the_chat(tmp_path: Path, telegram: Telegram) -> None:
    async with talking(tmp_path / "home", telegram, {"files": {"quota": 1_000_000}}) as served:
        given = telegram.keep(bytes(1_200_000))
        del given["file_size"]
        await telegram.say(7, "", document=given, caption="Look")
        texts = await until_answers(telegram, 2)
        (run,) = await runs(served)

    assert run.spec.attachments == ()
    assert run.spec.input.startswith("Look\n\n(Not attached: document_1: no room: all files together")
    assert any(text.startswith("Not handed on: document_1") for text in texts)


async def test_files_that_only_together_are_beyond_the_quota_are_left_out(tmp_path: Path, telegram: Telegram) -> None:
    async with talking(tmp_path / "home", telegram, {"files": {"quota": 1_000_000}}) as served:
        for number in (1, 2):
            await telegram.send_photo(7, bytes([number]) * 600_000, media_group_id="a", caption=str(number))
        await until_answers(telegram, 3)
        (run,) = await runs(served)

    assert run.spec.attachments == ()
    assert run.spec.input.startswith("1\n\n2\n\n(Not attached: photo_1.jpg (600 kB): no room: all files together")


async def test_a_download_that_breaks_off_is_begun_again(
    moongate: Serving, telegram: Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SUBMIT_RETRY_SECONDS", (0.01, 0.01))
    photo = telegram.keep(JPEG, width=1)
    telegram.broken.add(photo["file_id"])
    await telegram.say(7, "", photo=[photo], caption="@@ read")
    await telegram.until(lambda: telegram.downloads[photo["file_id"]] >= 2)
    telegram.broken.clear()
    await telegram.answered(7, f"{sha256(JPEG)}")

    assert len(await runs(moongate)) == 1


async def test_a_file_that_never_comes_is_left_out_after_some_tries(
    moongate: Serving, telegram: Telegram, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "SUBMIT_RETRY_SECONDS", (0.001, 0.001))
    photo = telegram.keep(JPEG, width=1)
    telegram.broken.add(photo["file_id"])
    await telegram.say(7, "", photo=[photo], caption="Look")
    texts = await until_answers(telegram, 2)

    assert telegram.downloads[photo["file_id"]] == 8
    assert any("Telegram does not deliver it" in text for text in texts)
    assert BOT_TOKEN not in "".join(texts) + capsys.readouterr().out


async def test_an_outage_of_telegram_does_not_count_as_tries_of_a_file(
    moongate: Serving, telegram: Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SUBMIT_RETRY_SECONDS", (0.001, 0.001))
    await telegram.until(lambda: telegram.count("getUpdates") >= 2, "it receives")
    telegram.trouble["getMe"] += [Trouble(500, "Internal Server Error")] * 20
    telegram.trouble["getFile"] += [Trouble(500, "Internal Server Error")] * 20
    await telegram.send_photo(7, JPEG, caption="@@ read")

    await telegram.answered(7, sha256(JPEG))


@pytest.mark.parametrize("result", [True, {"file_path": 5}])
async def test_a_file_whose_place_telegram_does_not_say_is_left_out_after_some_tries(
    moongate: Serving, telegram: Telegram, monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    async def answer(params: Any) -> Any:
        return result

    monkeypatch.setattr(waiting, "SUBMIT_RETRY_SECONDS", (0.001, 0.001))
    monkeypatch.setattr(telegram, "_get_file", answer)
    await telegram.send_photo(7, JPEG, caption="Look")
    await telegram.say(7, "then")
    await until_answers(telegram, 3)

    assert [(run.spec.input.split("\n")[0], run.spec.attachments) for run in await runs(moongate)] == [
        ("Look", ()),
        ("then", ()),
    ]


async def test_a_file_server_that_refuses_a_file_for_ever_does_not_block_the_chat(
    moongate: Serving, telegram: Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SUBMIT_RETRY_SECONDS", (0.001, 0.001))
    telegram.trouble["getFile"].append(lambda params: Trouble(410, "Gone"))
    await telegram.send_photo(7, JPEG, caption="Look")
    texts = await until_answers(telegram, 2)

    assert any("Telegram does not deliver it" in text for text in texts)
    assert telegram.count("getFile") == 8


async def test_what_is_said_while_a_file_is_fetched_waits_only_in_its_chat(
    moongate: Serving, telegram: Telegram
) -> None:
    telegram.held.add("file0")
    await telegram.send_photo(7, JPEG, caption="first")
    await telegram.until(lambda: telegram.downloads["file0"])
    await telegram.say(7, "second")
    await telegram.say(7, "/new")
    await telegram.say(7, "third")
    await telegram.say(7, "/status")
    await telegram.say_in_group(GROUP, "Hello")
    await telegram.answered(GROUP, "echo: Ada: Hello")
    await until_answers(telegram, 1)
    assert [text.partition(":")[0] for text in telegram.chats[7].texts] == ["Agent main"]
    telegram.held.clear()
    await until_answers(telegram, 5)

    found = [(run.spec.input, run.spec.session.rpartition(":")[2]) for run in await runs(moongate)]
    assert found[1:] == [("first", "7"), ("second", "7"), ("third", "7~2")]
    await until_nothing_waits(moongate)


async def test_what_waits_behind_a_file_outlives_the_gateway(tmp_path: Path, telegram: Telegram) -> None:
    async with talking(tmp_path / "home", telegram) as served:
        telegram.held.add("file0")
        await telegram.send_photo(7, JPEG, caption="first")
        await telegram.until(lambda: telegram.downloads["file0"])
        last = await telegram.say(7, "second")
        await telegram.until(lambda: any(params.get("offset", 0) > last for _, params in telegram.calls), "it is noted")
        assert await runs(served) == []
    telegram.held.clear()
    async with talking(tmp_path / "home", telegram) as served:
        await until_answers(telegram, 2)

        assert [run.spec.input for run in await runs(served)] == ["first", "second"]
        assert telegram.given[last] == 1


async def test_a_slow_download_holds_up_neither_other_chats_nor_what_telegram_is_told(
    moongate: Serving, telegram: Telegram
) -> None:
    telegram.held.add("file0")
    await telegram.send_photo(7, JPEG, caption="first")
    await telegram.until(lambda: telegram.downloads["file0"])
    last = await telegram.send_photo(7, PNG, caption="second")
    await telegram.until(lambda: any(params.get("offset", 0) > last for _, params in telegram.calls), "it is noted")
    await telegram.say_in_group(GROUP, "Hello")
    await telegram.answered(GROUP, "echo: Ada: Hello")
    assert telegram.chats[7].texts == []
    telegram.held.clear()
    await until_answers(telegram, 2)

    assert sorted(run.spec.input for run in await runs(moongate)) == ["Ada: Hello", "first", "second"]
    assert [run.spec.input for run in await runs(moongate) if run.spec.session.endswith(":7")] == ["first", "second"]


async def test_a_failing_file_does_not_hold_up_other_chats(
    moongate: Serving, telegram: Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SUBMIT_RETRY_SECONDS", (3600.0, 3600.0))
    photo = telegram.keep(JPEG, width=1)
    telegram.broken.add(photo["file_id"])
    await telegram.say(7, "", photo=[photo], caption="Look")
    await telegram.until(lambda: telegram.downloads[photo["file_id"]] >= 1)
    await telegram.say_in_group(GROUP, "Hello")

    await telegram.answered(GROUP, "echo: Ada: Hello")


async def test_a_chat_whose_messages_are_gone_is_forgotten_with_its_pause(
    moongate: Serving, telegram: Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SUBMIT_RETRY_SECONDS", (3600.0, 3600.0))
    photo = telegram.keep(JPEG, width=1)
    telegram.broken.add(photo["file_id"])
    await telegram.say(7, "", photo=[photo], caption="Look")
    bot, context = (
        cast("TelegramChannel", moongate.engine.channels._opened.chat_channels["telegram"])._waiting,
        moongate.engine.channels._contexts["telegram"],
    )
    await until(lambda: "7" in bot._failed, "its submission has failed")
    await context.save_notes(dict.fromkeys(await context.list_notes("waits:")))  # another process has submitted it
    bot._changed.set()

    await until(lambda: not bot._failed, "it is forgotten")


async def test_files_that_fail_in_many_chats_do_not_hold_up_those_of_another(
    tmp_path: Path, telegram: Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SUBMIT_RETRY_SECONDS", (3600.0, 3600.0))
    failing = range(1, waiting.MAX_FETCHING_CHATS + 1)
    async with talking(tmp_path / "home", telegram, chats=[*failing, 100]):
        for chat in failing:
            photo = telegram.keep(JPEG, width=1)
            telegram.broken.add(photo["file_id"])
            await telegram.say(chat, "", photo=[photo], caption="Look")
        await telegram.until(lambda: len(telegram.downloads) == len(failing))
        await telegram.send_photo(100, PNG, caption="Look")

        await until_answers(telegram, 1, 100)


async def test_a_photo_is_not_downloaded_again_when_its_run_is_stored(moongate: Serving, telegram: Telegram) -> None:
    number = await telegram.send_photo(7, JPEG, caption="Look")
    await until_answers(telegram, 1)
    context = moongate.engine.channels._contexts["telegram"]
    channel = moongate.engine.channels._opened.chat_channels["telegram"]
    await context.save_notes({f"took:{number}": None})
    update = telegram_update(number, telegram)
    await channel._waiting.add_message(update, context)
    await until(lambda: not channel._waiting._tasks and not channel._waiting._changed.is_set(), "it was looked at")
    await until_nothing_waits(moongate)

    assert len(await runs(moongate)) == 1
    assert sum(telegram.downloads.values()) == 1


def telegram_update(number: int, telegram: Telegram) -> Any:
    from gateway.channels.telegram.wire import Chat, Media, Message, Update

    photo = (Media(file_id="file0", width=1),)
    return Update(number, message=Message(message_id=1, chat=Chat(id=7), photo=photo, caption="Look"))


# --- edits and replies ------------------------------------------------------------------------


async def test_an_edited_caption_changes_a_message_that_waits_and_keeps_its_files(
    moongate: Serving, telegram: Telegram
) -> None:
    await telegram.say(7, "@@ hang")
    await telegram.until(lambda: telegram.chats[7].typing)
    photo = [telegram.keep(JPEG, width=1)]
    await telegram.say(7, "", photo=photo, caption="old", message_id=50)
    while len(await runs(moongate)) < 2:
        await asyncio.sleep(0.01)
    await telegram.edit(50, 7, "", photo=photo, caption="@@ read")
    await telegram.say(7, "then")
    while len(await runs(moongate)) < 3:
        await asyncio.sleep(0.01)
    await telegram.say(7, "/stop")
    await until_answers(telegram, 1)

    edited = (await runs(moongate))[1].spec
    assert (edited.input, [file.sha256 for file in edited.attachments]) == ("@@ read", [sha256(JPEG)])


async def test_an_edited_caption_that_is_said_again_has_its_files_again(tmp_path: Path, telegram: Telegram) -> None:
    async with talking(tmp_path / "home", telegram, edits="again"):
        photo = [telegram.keep(JPEG, width=1)]
        await telegram.say(7, "", photo=photo, caption="Look", message_id=50)
        await until_answers(telegram, 1)
        await telegram.edit(50, 7, "", photo=photo, caption="@@ read")

        assert (await until_answers(telegram, 2))[1] == sha256(JPEG)
        assert telegram.downloads["file0"] == 1


async def test_a_note_about_a_file_outlives_the_edit_of_its_caption(tmp_path: Path, telegram: Telegram) -> None:
    async with talking(tmp_path / "home", telegram, {"files": {"size": 2000}}) as served:
        await telegram.say(7, "@@ hang")
        await telegram.until(lambda: telegram.chats[7].typing)
        photo = [telegram.keep(JPEG, width=1)]
        await telegram.say(7, "", photo=photo, caption="old", message_id=50)
        while len(await runs(served)) < 2:
            await asyncio.sleep(0.01)
        await telegram.edit(50, 7, "", photo=photo, caption="new")
        await telegram.say(7, "then")
        while len(await runs(served)) < 3:
            await asyncio.sleep(0.01)

        assert (await runs(served))[1].spec.input.startswith("new\n\n(Not attached: photo_50.jpg")


async def test_a_question_that_is_answered_with_a_picture_takes_only_its_caption(
    tmp_path: Path, telegram: Telegram
) -> None:
    agent = {"id": "main", "backend": "echo", "script": True, "permissions": "ask"}
    question = '{"message": "Which?", "fields": [{"name": "a", "type": "text", "custom": true}]}'
    async with talking(tmp_path / "home", telegram, {"agents": {"list": [agent]}}, edit_seconds=0.05) as served:
        await telegram.say(7, f"@@ question {question}")
        await telegram.until(lambda: any("Which?" in text for text in telegram.chats[7].texts))
        number = next(n for n, text in telegram.chats[7].messages.items() if "Which?" in text)
        shown = {"message_id": number, "chat": {"id": 7}, "from": {"is_bot": True, "username": "moon_bot"}}
        context = served.engine.channels._contexts["telegram"]
        while await context.read_note(f"shows:7:{number}") is None:
            await asyncio.sleep(0.01)
        await telegram.send_photo(7, JPEG, reply_to_message=shown)
        await telegram.until(lambda: any("takes only text" in text for text in telegram.chats[7].texts))
        await telegram.send_photo(7, JPEG, reply_to_message=shown, caption="blue")
        await telegram.until(lambda: any('"blue"' in text for text in telegram.chats[7].texts))

        assert len(await runs(served)) == 1
        assert telegram.count("getFile") == 0


async def test_a_refused_download_does_not_show_the_token(
    moongate: Serving, telegram: Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    telegram.trouble["getFile"].append(Trouble(400, "Bad Request: wrong file_id"))
    await telegram.send_photo(7, JPEG, caption="Look")
    texts = await until_answers(telegram, 2)

    assert any("Telegram does not hand it out: Bad Request: wrong file_id" in text for text in texts)
    assert BOT_TOKEN not in "".join(texts)
