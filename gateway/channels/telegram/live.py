"""Shows in a chat that an answer is being written: typing, then a growing draft, and the agent's questions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

from gateway import log
from gateway.channels.telegram import requests, text
from gateway.channels.telegram.botapi import BotApi, CallRefused, TelegramUnreachable
from gateway.channels.telegram.wire import parse_note_number
from gateway.domain.event import End, Permission, Status, Text
from gateway.domain.ports.channel import ChannelContext

#: seconds between two typing notices; Telegram shows one for five seconds
TYPING_INTERVAL_SECONDS = 4.0
#: days that the number of a draft is kept, so that the answer can replace it
DRAFT_NOTE_DAYS = 7.0

_log = log.get()


def draft_note_name(run: str) -> str:
    """Return the name of the note about a run's draft. The note has the chat and the message's number."""
    return f"draft:{run}"


def _shown_note_name(chat: str, message: int) -> str:
    """Return the name of the note about a message that shows a request. The note has the ids of its run and of it."""
    return f"shows:{chat}:{message}"


async def find_shown_request(context: ChannelContext, chat: str, message: int) -> tuple[str, str] | None:
    """Return the ids of the run and the request that a message shows, or has shown last; None if it showed none."""
    run, _, request = (await context.read_note(_shown_note_name(chat, message)) or "").partition(" ")
    return (run, request) if request else None


class LiveDraft:
    """Shows one run in one chat, until the run ends or `end_draft` is called."""

    def __init__(self, api: BotApi, context: ChannelContext, run: str, chat: str, seconds: float) -> None:
        self._api = api
        self._context = context
        self._run = run
        self._chat = chat
        self._seconds = seconds
        self._text = ""
        #: open permission requests, by id
        self._asked: dict[str, Permission] = {}
        #: the last answer to a request, shown until the agent writes more
        self._told = ""
        #: the text that is shown, and the id of the request that its buttons answer
        self._shown: tuple[str, str] = "", ""
        self._message: int | None = None
        self._ending = asyncio.Event()
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._show_until_end(), name=f"draft-{run}")

    async def end_draft(self, seconds: float) -> None:
        """Stop showing the run. Wait up to `seconds` for a call that is in progress, so that no edit comes late."""
        self._ending.set()
        self._changed.set()
        _, pending = await asyncio.wait({self.task}, timeout=seconds)
        if pending:
            self.task.cancel()

    async def _show_until_end(self) -> None:
        reading = asyncio.create_task(self._read_events(), name=f"draft-reading-{self._run}")
        try:
            await self._show_changes()
        except Exception:  # the answer itself does not depend on the draft
            _log.exception("telegram.draft_broke", run=self._run)
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _read_events(self) -> None:
        async with aclosing(self._context.watch_run(self._run)) as events:
            async for event in events:
                match event.data:
                    case Text(delta=delta):
                        self._text += delta
                    case Permission() as permission:
                        self._note_permission(permission)
                    case Status():  # another attempt starts with an empty answer
                        self._text = self._told = ""
                    case End():
                        self._ending.set()
                self._changed.set()

    def _note_permission(self, told: Permission) -> None:
        if told.choices:
            self._asked[told.id] = told
        elif self._asked.pop(told.id, None) is not None:
            self._told = requests.describe_answer(told)

    def _compose_text(self, asked: Permission | None) -> str:
        """Return the text to show. A question comes first, because a long text could hide it."""
        return text.format_draft(
            f"{requests.compose_request(asked)}\n\n{self._text}" if asked else self._text or self._told
        )

    async def _show_changes(self) -> None:
        await self._find_earlier_draft()
        await self._try_call(self._api.send_typing(self._chat))
        await self._pause_unless_ended(self._seconds)  # a quick answer needs no draft
        while not self._ending.is_set():
            asked = next(iter(self._asked.values()), None)
            shown = self._compose_text(asked)
            if shown and (shown, asked.id if asked else "") != self._shown:
                await self._try_call(self._update_message(shown, asked))
                await self._pause_unless_ended(self._seconds)
            else:
                await self._try_call(self._api.send_typing(self._chat))
                await self._await_change()

    async def _find_earlier_draft(self) -> None:
        """Continue the draft of an earlier attempt, if there is one."""
        chat, _, number = (await self._context.read_note(draft_note_name(self._run)) or "").rpartition(" ")
        if chat == self._chat:
            self._message = parse_note_number(number) or None

    async def _update_message(self, shown: str, asked: Permission | None) -> None:
        buttons = requests.make_buttons(self._run, asked) if asked else ()
        if self._message is None:
            self._message = await self._api.send_message(self._chat, shown, buttons=buttons)
            await self._context.write_note(
                draft_note_name(self._run), f"{self._chat} {self._message}", days=DRAFT_NOTE_DAYS
            )
        else:
            await self._api.edit_message(self._chat, self._message, shown, buttons=buttons)
        if asked is not None and asked.id != self._shown[1]:  # only now: a reply is to what its writer has seen
            name = _shown_note_name(self._chat, self._message)
            await self._context.write_note(name, f"{self._run} {asked.id}", days=DRAFT_NOTE_DAYS)
        self._shown = shown, asked.id if asked else ""

    async def _try_call(self, call: Coroutine[Any, Any, None]) -> None:
        """Make a call; if it fails, wait: a draft is not worth more effort."""
        try:
            await call
        except CallRefused as error:
            _log.debug("telegram.draft_refused", run=self._run, error=str(error))
            await self._pause_unless_ended(error.retry_after or TYPING_INTERVAL_SECONDS)
        except TelegramUnreachable as error:
            _log.debug("telegram.draft_unreachable", run=self._run, error=str(error))
            await self._pause_unless_ended(TYPING_INTERVAL_SECONDS)

    async def _pause_unless_ended(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    async def _await_change(self) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TYPING_INTERVAL_SECONDS):
                await self._changed.wait()
