"""Talking to an agent from Telegram: who is let in, what becomes of what they say, what they see meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.channels.telegram import channel, sending
from gateway.channels.telegram.botapi import BotApi, CallRefused
from gateway.channels.telegram.live import LiveDraft
from gateway.domain.event import Event, Permission
from gateway.domain.page import Page
from gateway.domain.run import Run, RunFilter
from gateway.domain.times import Clock, wall_clock
from gateway.engine.messaging import channels as engine_channels
from harness.waiting import PATIENCE, until
from tests.api.client import ask
from tests.channels.context import MemoryChannelContext
from tests.contracts.stores import SteppedClock
from tests.support import providers, telegram_server
from tests.support.inprocess import Serving, serving
from tests.support.telegram_server import BOT_TOKEN, Trouble

#: seconds between two changes of a draft after which a short answer has none
WITHOUT_DRAFTS = 60


@pytest.fixture
async def telegram() -> AsyncIterator[telegram_server.Telegram]:
    async with telegram_server.serve_telegram() as served:
        yield served


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@asynccontextmanager
async def talking(
    home: Path,
    telegram: telegram_server.Telegram,
    more: Mapping[str, Any] | None = None,
    *,
    clock: Clock = wall_clock,
    **options: Any,
) -> AsyncIterator[Serving]:
    """A gateway with a bot that knows chat 7."""
    given = {"token": BOT_TOKEN, "base_url": telegram.base_url, "chats": [7], "poll_seconds": 1, "edit_seconds": 0.05}
    settings = {"channels": {"telegram": {**given, **options}}, **(more or {})}
    async with serving(home, settings, clock=clock) as served:
        yield served


@pytest.fixture
async def moongate(tmp_path: Path, telegram: telegram_server.Telegram) -> AsyncIterator[Serving]:
    async with talking(tmp_path / "home", telegram) as served:
        yield served


async def runs(served: Serving) -> list[Run]:
    """Return all runs, the oldest first."""
    return list(await served.engine.runs.list_runs(RunFilter(), Page()))[::-1]


async def shown(served: Serving) -> dict[str, Any]:
    """Return the channel as the API shows it."""
    found = (await ask(served, "GET", "/api/channels")).body["channels"]
    return next(one for one in found if one["name"] == "telegram")


async def until_delivery(served: Serving, state: str) -> dict[str, Any]:
    """Wait until a delivery was in that state, and return it."""
    async with asyncio.timeout(PATIENCE), aclosing(await served.engine.runs.follow_changes(0)) as changes:
        async for change in changes:
            if change.topic == "delivery" and change.state == state:
                delivery: dict[str, Any] = (await ask(served, "GET", f"/api/deliveries/{change.ref}")).body["delivery"]
                return delivery
    raise AssertionError("changes have no end")


async def test_a_channel_shows_what_became_of_what_it_sent_last(
    tmp_path: Path, telegram: telegram_server.Telegram
) -> None:
    telegram.trouble["sendMessage"] = [Trouble(400, "Bad Request: chat not found")]
    async with talking(tmp_path, telegram, edit_seconds=WITHOUT_DRAFTS) as served:
        before = await shown(served)
        await telegram.say(7, "Hello!")
        dead = await until_delivery(served, "dead")
        failed = await shown(served)
        await ask(served, "POST", f"/api/deliveries/{dead['id']}/retry")
        await until_delivery(served, "delivered")
        sent = await shown(served)

    untried = {"last_success_at": None, "last_error_at": None, "last_error": None, "recent": []}
    assert before == {**before, **untried}
    assert sent["last_poll_at"] is not None
    assert [one["ok"] for one in failed["recent"]] == [False]
    assert (failed["last_success_at"], "chat not found" in failed["last_error"]) == (None, True)
    assert [one["ok"] for one in sent["recent"]] == [False, True]
    assert (sent["last_error"], sent["last_success_at"]) == (failed["last_error"], sent["recent"][1]["at"])
    assert sent["last_error_at"] == sent["recent"][0]["at"]


# --- what is said -----------------------------------------------------------------------------


async def test_a_message_is_a_run_in_the_chat_s_session(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say(7, "Hello!")
    await telegram.answered(7, "echo: Hello!")

    (run,) = await runs(moongate)
    assert (run.spec.session, run.spec.input, run.spec.source) == ("main:telegram:7", "Hello!", "message")


async def test_messages_of_a_chat_are_answered_in_their_order(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    for number in range(5):
        await telegram.say(7, f"number {number}")

    await telegram.answered(7, *(f"echo: number {number}" for number in range(5)))


async def test_an_answer_is_seen_while_it_is_written(
    moongate: Serving, telegram: telegram_server.Telegram, pace: asyncio.Semaphore
) -> None:
    await telegram.say(7, "@@ words 4 1")
    whole = "w0 w1 w2 w3"
    for word in whole.split():
        pace.release()
        await telegram.until(lambda word=word: any(word in text for text in telegram.chats[7].texts))
    await telegram.answered(7, whole)

    ((_, history),) = telegram.chats[7].history.items()
    assert len(history) > 2
    assert telegram.chats[7].typing >= 1
    assert all(whole.startswith(text.removesuffix(" …")) for text in history)


async def test_after_a_failure_new_runs_are_shown_and_earlier_ones_are_not(
    tmp_path: Path, telegram: telegram_server.Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_channels, "CHANNEL_RETRY_SECONDS", 0.01)
    async with talking(tmp_path / "home", telegram) as moongate:
        channels = moongate.engine.channels
        known, asked = channels._runs, list[str]()

        async def run(id_: str) -> Run:
            asked.append(id_)
            if len(asked) == 1:
                raise OSError("the disk")
            found: Run = await known.get_run(id_)
            return found

        failing = SimpleNamespace(get_run=run, list_runs=known.list_runs, follow_changes=known.follow_changes)
        monkeypatch.setattr(channels, "_runs", failing)
        await telegram.say(7, "First")
        await telegram.answered(7, "echo: First")
        await telegram.say(7, "Second")
        await telegram.answered(7, "echo: First", "echo: Second")
        await telegram.until(lambda: len(asked) > 1)

        assert asked == [run.id for run in await runs(moongate)]


async def test_edits_keep_their_minimum_interval(tmp_path: Path, telegram: telegram_server.Telegram) -> None:
    began = asyncio.get_running_loop().time()
    async with talking(tmp_path, telegram, edit_seconds=0.3):
        await telegram.say(7, "@@ words 50 0.02")
        await telegram.until(lambda: any("w49" in text for text in telegram.chats[7].texts))
    took = asyncio.get_running_loop().time() - began

    assert telegram.count("editMessageText") + telegram.count("sendMessage") <= 3 + took / 0.3


async def test_a_failed_run_is_reported_in_its_chat(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say(7, "@@ fail no luck today")
    await telegram.until(lambda: telegram.chats[7].texts)

    (text,) = telegram.chats[7].texts
    assert "no luck today" in text


async def test_a_message_without_text_is_answered_with_a_hint(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    await telegram.say(7, "", sticker={"emoji": "🌕"})
    await telegram.answered(7, "This bot reads only text and files.")

    assert await runs(moongate) == []


async def test_messages_of_bots_are_ignored(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say(7, "I am a bot", **{"from": {"id": 9, "is_bot": True}})
    await telegram.say(7, "I am not")
    await telegram.answered(7, "echo: I am not")

    assert len(await runs(moongate)) == 1


async def test_an_update_that_cannot_be_read_is_skipped(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    telegram.unconfirmed.append({"update_id": 999, "message": {"chat": "odd"}})
    await telegram.say(7, "Hello!")

    await telegram.answered(7, "echo: Hello!")


# --- who is let in ----------------------------------------------------------------------------


async def test_a_stranger_is_refused_once_and_quietly(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    for _ in range(3):
        await telegram.say(666, "let me in")
    await telegram.say(7, "Hello!")
    await telegram.answered(7, "echo: Hello!")

    assert len(telegram.chats[666].texts) == 1
    assert len(await runs(moongate)) == 1


async def test_many_strangers_are_not_all_told(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    for chat in range(100, 150):
        await telegram.say(chat, "spam")
    await telegram.say(7, "Hello!")
    await telegram.answered(7, "echo: Hello!")

    assert sum(bool(chat.texts) for chat in telegram.chats.values()) <= 21


@pytest.mark.parametrize("form", ["{}", "/start {}", " {} "])
async def test_a_code_lets_a_chat_in_once(moongate: Serving, telegram: telegram_server.Telegram, form: str) -> None:
    code = (await ask(moongate, "POST", "/api/channels/telegram/pair")).body["code"]
    await telegram.say(8, form.format(code.lower()))
    await telegram.until(lambda: any("Paired" in text for text in telegram.chats[8].texts))
    (entry,) = (await ask(moongate, "GET", "/api/audit?action=channel.chat_paired")).body["entries"]
    assert (entry["who_kind"], entry["who"], entry["target"]) == ("chat", "telegram:8", "telegram:8")
    await telegram.say(9, form.format(code))
    await telegram.say(8, "Hello!")
    await telegram.until(lambda: "echo: Hello!" in telegram.chats[8].texts)

    assert [chat["chat"] for chat in (await shown(moongate))["chats"]] == ["7", "8"]
    assert "Paired" not in "".join(telegram.chats[9].texts)


async def test_a_pairing_outlives_a_restart_and_ends_when_it_is_taken_back(
    tmp_path: Path, telegram: telegram_server.Telegram
) -> None:
    async with talking(tmp_path, telegram) as served:
        code = (await ask(served, "POST", "/api/channels/telegram/pair")).body["code"]
        await telegram.say(8, code)
        await telegram.until(lambda: telegram.chats[8].texts)
    async with talking(tmp_path, telegram) as served:
        await telegram.say(8, "one")
        await telegram.until(lambda: "echo: one" in telegram.chats[8].texts)

        assert (await ask(served, "DELETE", "/api/channels/telegram/chats/8")).status == 200
        assert (await ask(served, "DELETE", "/api/channels/telegram/chats/8")).status == 404
        await telegram.say(8, "two")
        await telegram.say(7, "three")
        await telegram.answered(7, "echo: three")
        assert len(await runs(served)) == 2


async def test_a_channel_that_is_not_configured_pairs_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        refused = await ask(served, "POST", "/api/channels/telegram/pair")
        always = await ask(served, "POST", "/api/channels/webchat/pair")

    assert (refused.status, refused.code) == (404, "CHANNEL_NOT_FOUND")
    assert (always.status, always.code) == (409, "CONFLICT")


# --- commands ---------------------------------------------------------------------------------


async def test_new_begins_another_conversation(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say(7, "first")
    await telegram.answered(7, "echo: first")
    await telegram.say(7, "/new@moon_bot")
    await telegram.until(lambda: len(telegram.chats[7].texts) == 2)
    await telegram.say(7, "@@ history")
    await telegram.until(lambda: "0 messages" in telegram.chats[7].texts)

    assert [run.spec.session for run in await runs(moongate)] == ["main:telegram:7", "main:telegram:7~2"]


@pytest.mark.parametrize(("command", "answer"), [("/allow", "allow"), ("/always", "allow_always"), ("/deny", "deny")])
async def test_a_permission_request_is_shown_and_answered_in_the_chat(
    tmp_path: Path, telegram: telegram_server.Telegram, command: str, answer: str
) -> None:
    asks = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
    async with talking(tmp_path, telegram, {"agents": {"list": [asks]}}) as served:
        await telegram.say(7, "@@ ask rm -rf build\n@@ say !")
        question = "The agent asks to be allowed: rm -rf build\n/allow, /always, or /deny"
        await telegram.answered(7, question)
        await telegram.say(7, command)
        await telegram.answered(7, f"{answer}!")
        (run,) = await runs(served)
        [request] = await served.engine.permissions.list_requests(run.id, Page())

    ((_, history),) = telegram.chats[7].history.items()
    assert history[0] == question
    assert (request.answer, request.answered_by) == (answer, "telegram:7")


@pytest.mark.parametrize(
    ("label", "answer", "told"),
    [("Allow", "allow", "Allowed."), ("Always", "allow_always", "Allowed."), ("Deny", "deny", "Denied.")],
)
async def test_a_permission_request_is_answered_by_a_button(
    tmp_path: Path, telegram: telegram_server.Telegram, label: str, answer: str, told: str
) -> None:
    asks = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
    async with talking(tmp_path, telegram, {"agents": {"list": [asks]}}) as served:
        await telegram.say(7, "@@ ask rm -rf build\n@@ say !")
        await telegram.until(lambda: any(telegram.chats[7].buttons.values()), "there are buttons")
        await telegram.press(7, label)
        await telegram.answered(7, f"{answer}!")
        await telegram.until(lambda: telegram.chats[7].told == [told], "the press is answered")
        (run,) = await runs(served)
        [request] = await served.engine.permissions.list_requests(run.id, Page())

    assert (request.answer, request.answered_by) == (answer, "telegram:7")
    assert not any(telegram.chats[7].buttons.values())


async def test_a_button_counts_once_and_in_its_own_chat_only(
    tmp_path: Path, telegram: telegram_server.Telegram
) -> None:
    asks = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
    async with talking(tmp_path, telegram, {"agents": {"list": [asks]}}) as served:
        await telegram.say(7, "@@ ask one\n@@ ask two")
        await telegram.until(lambda: any(telegram.chats[7].buttons.values()), "there are buttons")
        await telegram.press(7, "Allow", at=666)  # a stranger's chat: nobody is told anything
        await telegram.press(7, "Allow")
        await telegram.press(7, "Allow")
        await telegram.until(lambda: len(telegram.chats[7].told) == 2, "both presses are answered")
        (run,) = await runs(served)
        requests = {one.id: one for one in await served.engine.permissions.list_requests(run.id, Page())}
        await served.engine.runs.cancel_run(run.id)

    assert sorted(telegram.chats[7].told) == ["Allowed.", "It is not waiting any more."]
    assert (requests["p1"].answer, requests["p1"].answered_by) == ("allow", "telegram:7")


COLOUR = {
    "name": "colour",
    "title": "Colour",
    "type": "choice",
    "options": [{"value": "r", "label": "Red", "description": "warm"}, {"value": "1", "label": "Blue"}],
}


@asynccontextmanager
async def asking(
    home: Path, telegram: telegram_server.Telegram, *fields: Mapping[str, Any], then: str = ""
) -> AsyncIterator[tuple[Serving, int]]:
    """A gateway whose agent asks a question in chat 7; also the number of the message that shows it."""
    asks = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
    async with talking(home, telegram, {"agents": {"list": [asks]}}) as served:
        question = json.dumps({"message": "What shall it be?", "fields": fields})
        await telegram.say(7, f"@@ question {question}\n{then}")
        await telegram.until(lambda: any(telegram.chats[7].buttons.values()), "there are buttons")
        ((number, _),) = telegram.chats[7].messages.items()
        async with asyncio.timeout(PATIENCE):  # only then a reply to the message is known as one
            while await served.engine._store.notes.get("telegram", f"shows:7:{number}") is None:
                await asyncio.sleep(0.01)
        yield served, number


def reply_to(number: int) -> dict[str, Any]:
    """Return the part of a message of chat 7 that makes it a reply to a message of the bot."""
    bot = {"id": 1, "is_bot": True, "first_name": "Moon", "username": "moon_bot"}
    return {"reply_to_message": {"message_id": number, "date": 0, "chat": {"id": 7}, "from": bot, "text": "?"}}


async def test_a_question_with_options_is_answered_by_a_button(
    tmp_path: Path, telegram: telegram_server.Telegram
) -> None:
    async with asking(tmp_path, telegram, COLOUR) as (served, number):
        shown, buttons = telegram.chats[7].messages[number], list(telegram.chats[7].buttons[number])
        await telegram.press(7, "Blue")
        await telegram.answered(7, '{"colour":"1"}')
        await telegram.until(lambda: telegram.chats[7].told == ["Answered."], "the press is answered")
        (run,) = await runs(served)
        [request] = await served.engine.permissions.list_requests(run.id, Page())

    assert shown == (
        "The agent asks: What shall it be?\nPress a button, or reply to this message; or /deny\n\n"
        "Colour\n  1. Red: warm\n  2. Blue"
    )
    assert buttons == ["Red", "Blue", "Deny"]
    assert (request.content, request.answered_by) == ({"colour": "1"}, "telegram:7")


async def test_a_question_for_yes_or_no_has_buttons(tmp_path: Path, telegram: telegram_server.Telegram) -> None:
    async with asking(tmp_path, telegram, {"name": "sure", "type": "boolean"}) as (_, number):
        assert list(telegram.chats[7].buttons[number]) == ["Yes", "No", "Deny"]
        await telegram.press(7, "No")
        await telegram.answered(7, '{"sure":false}')


async def test_a_question_is_answered_by_a_reply_to_its_message(
    tmp_path: Path, telegram: telegram_server.Telegram
) -> None:
    async with asking(tmp_path, telegram, COLOUR | {"custom": True}, {"name": "n", "type": "integer"}) as (_, number):
        shown, buttons = telegram.chats[7].messages[number], list(telegram.chats[7].buttons[number])
        await telegram.say(7, "green\nmany", **reply_to(number))
        await telegram.answered(7, shown, "The gateway did not accept that: n: it must be an integer.")
        await telegram.say(7, "green\n3", **reply_to(number))
        await telegram.until(lambda: telegram.chats[7].messages[number] == '{"colour":"green","n":3}')

    assert "Reply to this message with one line for each of these, in this order (- leaves one out); or /deny" in shown
    assert buttons == ["Deny"]


async def test_a_message_that_does_not_reply_to_the_question_goes_to_the_agent(
    tmp_path: Path, telegram: telegram_server.Telegram
) -> None:
    async with asking(tmp_path, telegram, {"name": "a"}) as (served, number):
        await telegram.say(7, "by the way")
        await telegram.say(7, "and to another", **reply_to(number + 100))
        await until_runs(served, 3)
        await telegram.say(7, "now I answer", **reply_to(number))
        await telegram.until(lambda: telegram.chats[7].messages[number] == '{"a":"now I answer"}')

        assert [run.spec.input for run in (await runs(served))[1:]] == [
            "by the way",
            "(In reply to your message:)\n> ?\n\nand to another",
        ]


async def test_a_reply_to_a_message_that_does_not_show_the_next_question_yet_is_no_answer_to_it(
    tmp_path: Path, telegram: telegram_server.Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = json.dumps({"message": "Delete what?", "fields": [{"name": "b"}]})
    async with asking(tmp_path, telegram, {"name": "a"}, then=f"@@ question {following}") as (served, number):
        monkeypatch.setattr(BotApi, "edit_message", refuse_edit)
        await telegram.say(7, "anna", **reply_to(number))
        (run,) = await runs(served)
        async with aclosing(served.engine.runs.watch_run(run.id)) as events:
            async for event in events:
                if isinstance(event.data, Permission) and event.data.id == "p2":
                    break
        await telegram.say(7, "bob", **reply_to(number))
        await until_runs(served, 2)
        asked = await served.engine.permissions.list_requests(run.id, Page())

    assert [(one.id, one.content) for one in asked] == [("p2", None), ("p1", {"a": "anna"})]


async def refuse_edit(*_: Any, **__: Any) -> None:
    raise CallRefused(429, "Too Many Requests", retry_after=3)


async def until_runs(served: Serving, count: int) -> None:
    """Wait until there are that many runs."""
    async with asyncio.timeout(PATIENCE), aclosing(await served.engine.runs.follow_changes(0)) as changes:
        async for _ in changes:
            if len(await runs(served)) == count:
                return


@pytest.mark.parametrize("how", ["/deny", "button"])
async def test_a_question_is_denied_in_the_chat(tmp_path: Path, telegram: telegram_server.Telegram, how: str) -> None:
    async with asking(tmp_path, telegram, COLOUR) as _:
        await (telegram.press(7, "Deny") if how == "button" else telegram.say(7, how))
        await telegram.answered(7, "null")


async def test_allow_does_not_answer_a_question(tmp_path: Path, telegram: telegram_server.Telegram) -> None:
    async with asking(tmp_path, telegram, COLOUR) as (_, number):
        await telegram.say(7, "/allow")
        told = "The gateway did not accept that: answer: p1 can be answered with answer, deny, not with allow."
        await telegram.answered(7, telegram.chats[7].messages[number], told)


class Asked(MemoryChannelContext):
    """A channel context of a run that asks for permission, and has the answer when the test gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()

    async def watch_run(self, run: str) -> AsyncGenerator[Event, Any]:
        asked = Permission(id="p1", action="rm -rf", choices=("allow", "deny"), expires_at="2030-01-01T00:00:00Z")
        yield Event(run=run, number=1, at=0, data=asked)
        await self.answered.wait()
        yield Event(
            run=run, number=2, at=0, data=Permission(id="p1", action="rm -rf", answer="deny", reason="deadline")
        )
        await asyncio.Event().wait()


async def test_a_question_whose_answer_came_elsewhere_is_shown_no_more(telegram: telegram_server.Telegram) -> None:
    context = Asked()
    async with BotApi(telegram.base_url, BOT_TOKEN) as api:
        draft = LiveDraft(api, context, "run", "7", 0.05)
        await telegram.answered(7, "The agent asks to be allowed: rm -rf\n/allow, or /deny")
        context.answered.set()
        await telegram.answered(7, "(Denied: rm -rf)")
        await draft.end_draft(20)


async def test_an_answer_without_a_request_is_explained(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say(7, "/allow")

    await telegram.answered(7, "Nothing is waiting to be allowed.")


async def test_stop_cancels_the_running_work(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say(7, "@@ hang")
    await telegram.until(lambda: telegram.chats[7].typing)
    await telegram.say(7, "waits behind it")
    await telegram.say(7, "/stop")
    await telegram.until(lambda: telegram.chats[7].texts.count("(stopped)") == 2)
    for run in await runs(moongate):
        await moongate.engine.runs.wait_for_run(run.id, PATIENCE)

    assert [run.status for run in await runs(moongate)] == ["cancelled", "cancelled"]
    await telegram.say(7, "/stop")
    await telegram.until(lambda: "Nothing is running." in telegram.chats[7].texts)


async def test_status_shows_the_running_work(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say(7, "@@ hang")
    await telegram.until(lambda: telegram.chats[7].typing)
    await telegram.say(7, "/status")

    await telegram.answered(7, "Agent main: 1 running, 0 waiting.\nSession main:telegram:7")


async def test_a_command_to_another_bot_is_left_to_it(moongate: Serving, telegram: telegram_server.Telegram) -> None:
    await telegram.say(7, "/status@other_bot")
    await telegram.say(7, "Hello!")

    await telegram.answered(7, "echo: Hello!")


async def test_other_messages_with_a_slash_go_to_the_agent(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    await telegram.say(7, "/newspaper please")

    await telegram.answered(7, "echo: /newspaper please")


# --- by the API -------------------------------------------------------------------------------


async def test_a_message_by_the_api_is_answered_in_its_chat(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    body = {"channel": "telegram", "chat_id": "123456789", "content": "Hello from API!"}
    said = await ask(moongate, "POST", "/api/message", body)
    await telegram.answered(123456789, "echo: Hello from API!")

    assert (said.status, said.body["status"]) == (200, "ok")


async def test_a_message_by_the_api_goes_on_in_the_chat_s_conversation(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    await telegram.say(7, "/new")
    await telegram.until(lambda: telegram.chats[7].texts)
    sent = await ask(moongate, "POST", "/api/message/sync", {"channel": "telegram", "chat_id": "7", "content": "Hi"})

    assert sent.body["session"] == "main:telegram:7~2"


async def test_a_run_of_a_github_webhook_is_answered_in_a_chat(
    tmp_path: Path, telegram: telegram_server.Telegram
) -> None:
    endpoint = {
        "provider": "github",
        "secret": providers.SHARED_SECRET,
        "prompt": "Review {number}",
        "deliver": "telegram:7",
    }
    async with talking(tmp_path, telegram, {"inbound": {"github": endpoint}}) as served:
        body = b'{"number": 12}'
        headers = {
            name.replace("-", "_"): value for name, value in providers.github(body, providers.SHARED_SECRET, 0).items()
        }
        await ask(served, "POST", "/api/webhook/github", {"number": 12}, **headers)

        await telegram.answered(7, "echo: Review 12")


# --- trouble ----------------------------------------------------------------------------------


async def test_messages_that_came_while_the_network_was_cut_are_answered_once(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    await telegram.say(7, "before")
    await telegram.answered(7, "echo: before")
    telegram.cut = True
    await until(
        lambda: moongate.engine.channels._opened.chat_channels["telegram"].state.state == "waiting", "it is noticed"
    )
    await telegram.say(7, "meanwhile")
    telegram.cut = False

    await telegram.answered(7, "echo: before", "echo: meanwhile")
    assert len(await runs(moongate)) == 2


async def test_an_update_that_comes_twice_becomes_one_run(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    number = await telegram.say(7, "Hello!")
    await telegram.answered(7, "echo: Hello!")
    again = {"message_id": 1, "date": 0, "chat": {"id": 7}, "from": {"id": 7, "is_bot": False}, "text": "Hello!"}
    telegram.unconfirmed.insert(0, {"update_id": number, "message": again})
    telegram.trouble["getUpdates"].append(Trouble(500, "Internal Server Error"))  # and it begins again
    await telegram.say(7, "next")
    await telegram.until(lambda: "echo: next" in telegram.chats[7].texts)

    assert [run.spec.input for run in await runs(moongate)] == ["Hello!", "next"]


@pytest.mark.parametrize(
    ("trouble", "state", "said"),
    [
        (Trouble(409, "Conflict: terminated by other getUpdates request"), "waiting", "another program"),
        (Trouble(401, "Unauthorized"), "refused", "the token is wrong"),
        (Trouble(502, "Bad Gateway"), "waiting", "cannot be reached"),
    ],
    ids=lambda part: getattr(part, "description", ""),
)
async def test_a_failure_is_shown_until_it_passes(
    moongate: Serving, telegram: telegram_server.Telegram, trouble: Trouble, state: str, said: str
) -> None:
    troubled = [True]
    telegram.trouble["getUpdates"].append(lambda _: trouble if troubled else None)
    bot = moongate.engine.channels._opened.chat_channels["telegram"]
    await until(lambda: bot.state.state == state, f"it is {state}")

    found = await shown(moongate)
    assert said in found["detail"]
    assert BOT_TOKEN not in found["detail"]
    health = (await ask(moongate, "GET", "/health")).body
    assert (health["status"], health["checks"]["telegram"].startswith(state)) == ("degraded", True)
    troubled.clear()
    await telegram.say(7, "Hello!")
    await telegram.answered(7, "echo: Hello!")


async def test_a_refused_channel_polls_less_and_less_often(
    tmp_path: Path, telegram: telegram_server.Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "RECONNECT_PAUSES_SECONDS", (0.04, 10.0))
    asked: list[float] = []
    telegram.trouble["getMe"].append(lambda _: asked.append(asyncio.get_running_loop().time()))
    telegram.trouble["getUpdates"].append(lambda _: Trouble(409, "Conflict: terminated by other getUpdates request"))
    async with talking(tmp_path, telegram):
        await telegram.until(lambda: len(asked) == 6)

    pauses = [later - sooner for sooner, later in itertools.pairwise(asked)]
    for number, pause in enumerate(pauses):
        assert pause >= 0.02 * 2**number


async def test_an_answer_that_has_become_stale_is_kept_back_until_somebody_asks_for_it(
    tmp_path: Path, telegram: telegram_server.Telegram, clock: SteppedClock
) -> None:
    troubled = [True]
    telegram.trouble["sendMessage"].append(lambda _: Trouble(502, "Bad Gateway") if troubled else None)
    async with talking(tmp_path, telegram, clock=clock, edit_seconds=WITHOUT_DRAFTS) as served:
        await telegram.say(7, "Hello!")
        await telegram.until(lambda: telegram.count("sendMessage"))
    troubled.clear()
    clock.forward(2 * 3600 * 1000)
    async with talking(tmp_path, telegram, clock=clock) as served:
        dead = await until_delivery(served, "dead")

        assert telegram.chats[7].texts == []
        assert "stale_after" in dead["error"]
        assert (await ask(served, "POST", f"/api/deliveries/{dead['id']}/retry")).status == 200
        await telegram.answered(7, "echo: Hello!")


# --- the mode webhook -------------------------------------------------------------------------


async def test_by_webhook_messages_are_posted_and_answered_once(
    tmp_path: Path, telegram: telegram_server.Telegram, free_port: int
) -> None:
    gateway = {"gateway": {"port": free_port}}
    url = f"http://127.0.0.1:{free_port}"
    async with talking(tmp_path, telegram, gateway, mode="webhook", webhook_url=url) as served:
        await telegram.until(lambda: telegram.webhook is not None)
        await telegram.say(7, "Hello!")
        await telegram.answered(7, "echo: Hello!")
        again = await telegram.post(telegram.unconfirmed[0])
        await telegram.say(7, "/status")
        await telegram.until(lambda: len(telegram.chats[7].texts) == 2)

        assert again == 202
        assert len(await runs(served)) == 1
        assert telegram.count("getUpdates") == 0


@pytest.mark.parametrize("secret", [None, "", "wrong", "secret\u00e9"])
async def test_a_webhook_without_telegram_s_secret_is_refused(
    tmp_path: Path, telegram: telegram_server.Telegram, secret: str | None
) -> None:
    async with talking(tmp_path, telegram, mode="webhook", webhook_url="http://127.0.0.1:9") as served:
        update = {"update_id": 1, "message": {"message_id": 1, "chat": {"id": 7}, "text": "Hello!"}}
        headers = {} if secret is None else {"X_Telegram_Bot_Api_Secret_Token": secret}
        answer = await ask(served, "POST", "/api/webhook/telegram", update, **headers)

        assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
        assert await runs(served) == []


async def test_while_it_polls_it_takes_no_webhook(moongate: Serving) -> None:
    answer = await ask(moongate, "POST", "/api/webhook/telegram", {"update_id": 1})

    assert (answer.status, answer.code) == (404, "CHANNEL_NOT_FOUND")


# --- by the clock -----------------------------------------------------------------------------

EVERY_DAY = {"schedule": "every 1d", "prompt": "Good morning!", "deliver": {"channel": "telegram", "chat_id": "7"}}


async def test_the_answer_of_a_schedule_is_sent_to_its_chat_once_and_after_a_restart_too(
    tmp_path: Path, telegram: telegram_server.Telegram, clock: SteppedClock
) -> None:
    async with talking(tmp_path, telegram, clock=clock) as served:
        made = await ask(served, "POST", "/api/cron/create", EVERY_DAY)
        clock.forward(24 * 3600 * 1000)
        served.engine.schedules._changed()  # the clock is looked at every few seconds only
        await telegram.answered(7, "echo: Good morning!")
    clock.forward(24 * 3600 * 1000)
    async with talking(tmp_path, telegram, clock=clock) as served:
        await telegram.until(lambda: len(telegram.chats[7].texts) == 2)
        fires = (await ask(served, "GET", f"/api/cron/{made.body['job']['id']}/runs")).body["runs"]

    assert telegram.chats[7].texts == ["echo: Good morning!"] * 2
    assert [fire["outcome"] for fire in fires] == ["fired", "fired"]


async def test_the_answer_of_a_schedule_is_not_lost_while_telegram_is_unreachable(
    tmp_path: Path, telegram: telegram_server.Telegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "UNREACHABLE_RETRY_SECONDS", ())
    troubled = [True]
    telegram.trouble["sendMessage"].append(lambda _: Trouble(502, "Bad Gateway") if troubled else None)
    async with talking(tmp_path, telegram) as served:
        made = await ask(served, "POST", "/api/cron/create", EVERY_DAY)
        await ask(served, "POST", "/api/cron/trigger", {"job_id": made.body["job"]["id"]})
        await telegram.until(lambda: telegram.count("sendMessage"))
    troubled.clear()
    async with talking(tmp_path, telegram) as served:
        await telegram.answered(7, "echo: Good morning!")


async def test_a_schedule_for_a_channel_that_is_not_there_is_refused(
    moongate: Serving, telegram: telegram_server.Telegram
) -> None:
    refused = await ask(
        moongate, "POST", "/api/cron/create", {**EVERY_DAY, "deliver": {"channel": "telegraph", "chat_id": "7"}}
    )

    assert (refused.status, refused.code) == (404, "CHANNEL_NOT_FOUND")
    assert (await ask(moongate, "GET", "/api/cron")).body["jobs"] == []
