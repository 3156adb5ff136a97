"""Keeps messages with files from the moment they come until the run that has the files is stored.

The parts of an album come as messages of their own, and Telegram may send the next one only when it knows that we have
the one before. So each is noted on disk before Telegram is told, and an album is submitted when no further part has
come for a while. What is said in its chat meanwhile waits behind it, so no chat waits for the files of another. Notes:

    waits:open:N    a part of an album: the update N
    waits:closed:N  everything else, and an album from the moment it is complete: a list of updates; N is the first.
                    The message is identified by it
    took:N          the update N was submitted; it may come again
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from gateway import log
from gateway.channels.telegram import incoming
from gateway.channels.telegram.botapi import CallRefused, TelegramUnreachable
from gateway.channels.telegram.wire import Message, Update
from gateway.domain.ports.channel import ChannelContext
from gateway.errors import GatewayError

#: seconds without another part after which an album is complete
ALBUM_QUIET_SECONDS = 1.0
#: parts that an album has at most: https://core.telegram.org/bots/api#sendmediagroup
MAX_ALBUM_PARTS = 10
#: chats whose files are fetched at the same time
MAX_FETCHING_CHATS = 8
#: seconds until a message is submitted again whose files could not be fetched: first, and at most
SUBMIT_RETRY_SECONDS = 1.0, 60.0
#: seconds after which the notes are read again, if nobody tells of a new one: another process may write them
MAX_NOTES_AGE_SECONDS = 5.0
#: days that an update is remembered that was submitted; Telegram sends it again for one day at most
TOOK_NOTE_DAYS = 7.0

_OPEN, _CLOSED = "waits:open:", "waits:closed:"
_log = log.get()


class WaitingMessage(NamedTuple):
    """A message that is not submitted yet: one update, or the parts of an album so far."""

    updates: tuple[Update, ...]
    #: whether it has all of its parts
    is_closed: bool

    @property
    def number(self) -> int:
        """The number of its first update, by which it is identified."""
        return self.updates[0].update_id

    @property
    def first(self) -> Message:
        return require_message(self.updates[0])


def require_message(update: Update) -> Message:
    """Return the message of an update that has one, new or edited."""
    message = update.message or update.edited_message
    assert message is not None
    return message


class WaitingMessages:
    """The waiting messages of one bot."""

    def __init__(self, submit: Callable[[Sequence[Update], ChannelContext], Awaitable[object]]) -> None:
        """Args:
        submit: fetches the files of a message and submits it, once for each number of its first update.
        """
        self._submit = submit
        #: held while a message is added
        self._adding = asyncio.Lock()
        self._changed = asyncio.Event()
        #: how many parts an open album has had since when, by its number
        self._parts: dict[int, tuple[int, float]] = {}
        #: since when parts come, in seconds of the monotonic clock; None before that
        self._receiving_since: float | None = None
        #: submits the messages of a chat, by its address
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: chats whose last submission failed: the next pause, and the time of the monotonic clock until which they wait
        self._failed: dict[str, tuple[float, float]] = {}

    async def add_message(self, update: Update, context: ChannelContext) -> None:
        """Keep a message with a file. When this returns, it is on disk; a repeated one is kept once."""
        message = require_message(update)
        async with self._adding:
            waiting = await _list_messages(incoming.read_address(message), context)
            await self._add_once(update, waiting, context, is_part=bool(message.media_group_id))

    async def add_behind(self, update: Update, context: ChannelContext) -> bool:
        """Keep an update without a file if messages of its chat wait: they were said before. Return whether they do."""
        async with self._adding:
            waiting = await _list_messages(incoming.read_address(require_message(update)), context)
            if waiting:
                await self._add_once(update, waiting, context, is_part=False)
            return bool(waiting)

    async def _add_once(
        self, update: Update, waiting: Sequence[WaitingMessage], context: ChannelContext, *, is_part: bool
    ) -> None:
        """Note an update, unless it is among the waiting messages of its chat, or was submitted.

        A submission moves the notes of a message only forward, from `open` to `closed` to `took`, and they are read in
        this order: so a repeated one is always found.
        """
        number = update.update_id
        if any(part.update_id == number for one in waiting for part in one.updates):
            return
        if await context.read_note(f"took:{number}") is not None:
            return
        name, value = (f"{_OPEN}{number}", update) if is_part else (f"{_CLOSED}{number}", [update])
        await context.write_note(name, msgspec.json.encode(value).decode())
        self._changed.set()

    def start_counting(self, seconds: float = 0.0) -> None:
        """Begin to wait for the parts of albums, after some seconds: what has come meanwhile comes now."""
        self._receiving_since = time.monotonic() + seconds
        self._changed.set()

    async def submit_when_complete(self, context: ChannelContext) -> None:
        """Submit messages when they are complete, until cancelled."""
        try:
            while True:
                self._changed.clear()
                # Before it receives, the bot does not know its name, which tells whether it is addressed.
                waiting = [] if self._receiving_since is None else await _list_messages(None, context)
                chats = dict.fromkeys(incoming.read_address(one.first) for one in waiting)
                for chat in chats:
                    _, not_before = self._failed.get(chat, (0.0, 0.0))
                    if chat in self._tasks or time.monotonic() < not_before:
                        continue
                    if len(self._tasks) < MAX_FETCHING_CHATS:
                        self._tasks[chat] = asyncio.create_task(self._submit_complete(chat, context))
                numbers = {one.number for one in waiting}
                self._parts = {number: seen for number, seen in self._parts.items() if number in numbers}
                self._failed = {chat: pause for chat, pause in self._failed.items() if chat in chats}
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ALBUM_QUIET_SECONDS / 4 if waiting else MAX_NOTES_AGE_SECONDS):
                        await self._changed.wait()
        finally:
            self._receiving_since = None
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.clear()

    async def _submit_complete(self, chat: str, context: ChannelContext) -> None:
        """Submit the complete messages of a chat, up to the first one that is not; a failure is tried again later."""
        try:
            waiting = await _list_messages(chat, context)
            complete = [one.is_closed or self._is_quiet(one) for one in waiting]
            for one in waiting[: [*complete, False].index(False)]:
                await self._submit_message(one, context)
            self._failed.pop(chat, None)
        except Exception as error:
            pause, _ = self._failed.get(chat, (SUBMIT_RETRY_SECONDS[0], 0.0))
            self._failed[chat] = min(pause * 2, SUBMIT_RETRY_SECONDS[1]), time.monotonic() + pause
            is_expected = isinstance(error, TelegramUnreachable | CallRefused | GatewayError)
            tell = _log.warning if is_expected else _log.exception
            tell("telegram.cannot_take", chat=chat, error=str(error), again_in=pause)
        finally:
            self._tasks.pop(chat, None)

    def _is_quiet(self, album: WaitingMessage) -> bool:
        """Return whether an open album has all its parts: it is full, or no part has come for a while."""
        count = len(album.updates)
        if count >= MAX_ALBUM_PARTS:
            return True
        now = time.monotonic()
        known, since = self._parts.get(album.number, (0, now))
        if known != count:
            since = now
        self._parts[album.number] = count, since
        return now - max(since, self._receiving_since or now) >= ALBUM_QUIET_SECONDS

    async def _submit_message(self, waiting: WaitingMessage, context: ChannelContext) -> None:
        """Submit a message. From here on it has no further parts, also if this is interrupted and done again."""
        closed, parts = f"{_CLOSED}{waiting.number}", [update.update_id for update in waiting.updates]
        if not waiting.is_closed:
            opened = [f"{_OPEN}{number}" for number in parts]
            kept = {closed: msgspec.json.encode(waiting.updates).decode()}
            if not await context.save_notes({**dict.fromkeys(opened), **kept}, only_if=opened[0]):
                return  # another process has it
        await self._submit(waiting.updates, context)
        took = dict.fromkeys((f"took:{number}" for number in parts), "")
        await context.save_notes({closed: None, **took}, days=TOOK_NOTE_DAYS)


async def _list_messages(chat: str | None, context: ChannelContext) -> list[WaitingMessage]:
    """Return the waiting messages of a chat, or of all chats, in the order in which they came."""
    found: list[WaitingMessage] = []
    albums: dict[tuple[str, str], list[Update]] = {}
    for name, value in (await context.list_notes("waits:")).items():
        try:
            if name.startswith(_CLOSED):
                found.append(WaitingMessage(msgspec.json.decode(value, type=tuple[Update, ...]), is_closed=True))
                continue
            update = msgspec.json.decode(value, type=Update)
        except msgspec.MsgspecError as error:  # another version has written it
            _log.error("telegram.cannot_read_waiting", note=name, error=str(error))
            continue
        message = require_message(update)
        albums.setdefault((incoming.read_address(message), message.media_group_id), []).append(update)
    for parts in albums.values():
        parts.sort(key=lambda update: update.update_id)
        found.append(WaitingMessage(tuple(parts), is_closed=False))
    found.sort(key=lambda one: one.number)
    return [one for one in found if chat in (None, incoming.read_address(one.first))]
