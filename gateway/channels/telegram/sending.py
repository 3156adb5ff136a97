"""Sends an agent's answers to Telegram, and shows drafts of them while they are written.

An answer may take several messages: its text in parts, then each file. The number of messages that were sent is noted
after each, so a try after a crash continues with the next one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from weakref import WeakValueDictionary

from gateway.channels.telegram import live, outgoing, text
from gateway.channels.telegram.botapi import BotApi, CallRefused, TelegramUnreachable, call_with_wait
from gateway.channels.telegram.live import LiveDraft
from gateway.channels.telegram.options import TELEGRAM_API_URL, Options
from gateway.channels.telegram.outgoing import FileMethod
from gateway.channels.telegram.wire import parse_address, parse_note_number
from gateway.domain.delivery import Delivered, PermanentFailure, RetryLater, SendResult
from gateway.domain.file import File
from gateway.domain.ports.channel import ChannelContext, OutgoingMessage
from gateway.domain.times import Clock

#: seconds between the calls of one try, while Telegram cannot be reached
UNREACHABLE_RETRY_SECONDS = 1.0, 2.0, 4.0, 8.0
#: seconds that a draft's last call may take before the answer is sent
DRAFT_END_SECONDS = 20.0
#: seconds that it may take before another process becomes the leader
DRAFT_HANDOVER_SECONDS = 3.0
#: runs that are remembered after their answer was sent
MAX_ANSWERED_RUNS = 1000
#: days that the number of sent messages of an answer is kept
SENT_NOTE_DAYS = 7.0


class AnswerSender:
    """Sends answers to the chats of one bot, one at a time in each chat."""

    def __init__(self, api: BotApi, options: Options, clock: Clock) -> None:
        self._api = api
        self._options = options
        self._clock = clock
        is_own_server = options.base_url.rstrip("/") != TELEGRAM_API_URL
        self._max_file_bytes = outgoing.MAX_OWN_SERVER_FILE_BYTES if is_own_server else outgoing.MAX_FILE_BYTES
        self._drafts: dict[str, LiveDraft] = {}
        self._accepts_drafts = True
        #: runs whose answer was sent; a draft that starts later would stay in the chat
        self._answered: OrderedDict[str, None] = OrderedDict()
        #: one lock a chat, held while an answer is sent to it
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def send_answer(self, out: OutgoingMessage, context: ChannelContext) -> SendResult:
        """Try to send an answer; the draft of the same run becomes its first message."""
        lock = self._locks.setdefault(out.chat, asyncio.Lock())
        async with lock:
            age = (self._clock() - out.at) / 1000
            if age > self._options.stale_after:
                return PermanentFailure(f"it is {age:.0f} s old: channels.telegram.stale_after keeps it back")
            await self._stop_drafting(out.run)
            return await self._try_to_send(out, context, UNREACHABLE_RETRY_SECONDS)

    def show_draft(self, run: str, chat: str, context: ChannelContext) -> None:
        """Start to show a run in a chat, unless it is shown or answered already."""
        if run not in self._drafts and run not in self._answered and self._accepts_drafts:
            draft = self._drafts[run] = LiveDraft(self._api, context, run, chat, self._options.edit_seconds)
            draft.task.add_done_callback(lambda _: self._drafts.pop(run, None))

    def accept_drafts(self) -> None:
        """Show drafts again after `end_all_drafts`."""
        self._accepts_drafts = True

    async def end_all_drafts(self) -> None:
        """Show no draft any more."""
        self._accepts_drafts = False
        await asyncio.gather(*(draft.end_draft(DRAFT_HANDOVER_SECONDS) for draft in list(self._drafts.values())))

    async def _stop_drafting(self, run: str) -> None:
        self._answered[run] = None
        if len(self._answered) > MAX_ANSWERED_RUNS:
            self._answered.popitem(last=False)
        draft = self._drafts.pop(run, None)
        if draft is not None:
            await draft.end_draft(DRAFT_END_SECONDS)

    async def _try_to_send(self, out: OutgoingMessage, context: ChannelContext, pauses: Sequence[float]) -> SendResult:
        """Send an answer; after each pause, try again when Telegram was unreachable, perhaps for a moment only."""
        try:
            await self._send_following_moves(out, context)
        except CallRefused as error:
            return (
                PermanentFailure(str(error)) if error.is_permanent else RetryLater(str(error), error.retry_after or 0.0)
            )
        except TelegramUnreachable as error:
            if not pauses:
                return RetryLater(f"Telegram cannot be reached: {error}")
        else:
            return Delivered()
        await asyncio.sleep(pauses[0])
        return await self._try_to_send(out, context, pauses[1:])

    async def _send_following_moves(self, out: OutgoingMessage, context: ChannelContext) -> None:
        """Send an answer to its chat, or to the chat that replaces it."""
        try:
            await self._send_parts(out, out.chat, context)
        except CallRefused as error:
            if error.new_chat is None:
                raise
            await context.rename_chat(parse_address(out.chat).chat, str(error.new_chat))
            await self._send_parts(out, str(error.new_chat), context)

    async def _send_parts(self, out: OutgoingMessage, chat: str, context: ChannelContext) -> None:
        parts = self._list_parts(out)
        note = f"sent:{out.id}"
        sent = parse_note_number(await context.read_note(note))
        for number, part in enumerate(parts[sent:], sent):
            if isinstance(part, File):
                if number == 0:
                    await self._replace_draft(out.run, chat, "(The answer has only files.)", context)
                await self._send_file(chat, part, outgoing.choose_method(part), context)
            elif number > 0 or not await self._replace_draft(out.run, chat, part, context):
                html = None if out.is_plain else text.format_html(part)
                await call_with_wait(partial(self._api.send_message, chat, part, html=html))
            await context.write_note(note, str(number + 1), days=SENT_NOTE_DAYS)

    def _list_parts(self, out: OutgoingMessage) -> list[str | File]:
        """Return the messages, the same at each try: the text, which names the files that cannot be sent; the files."""
        remarks = {file.id: outgoing.explain_unsendable(file, self._max_file_bytes) for file in out.files}
        files = [file for file in out.files if not remarks[file.id]]
        said = text.split_text("\n\n".join(filter(None, [out.text.strip(), *remarks.values()])))
        return [*said, *files] or ["(The answer is empty.)"]

    async def _send_file(self, chat: str, file: File, method: FileMethod, context: ChannelContext) -> None:
        """Send a file. One that Telegram refuses is sent as a document; if that is refused, the chat is told."""
        try:
            content = await context.fetch_content(file)
            await call_with_wait(partial(self._api.send_file, chat, method, file, content))
        except CallRefused as error:
            if not error.is_about_file:
                raise
            reason = error.description
        except OSError as error:
            reason = f"it cannot be read: {error.strerror or error}"
        else:
            return
        if method is not FileMethod.SEND_DOCUMENT:
            await self._send_file(chat, file, FileMethod.SEND_DOCUMENT, context)
        else:
            refusal = outgoing.explain_refusal(file, reason)
            await call_with_wait(partial(self._api.send_message, chat, refusal))

    async def _replace_draft(self, run: str, chat: str, part: str, context: ChannelContext) -> bool:
        """Edit the run's draft into the answer; return False if it has no draft in this chat."""
        draft_chat, _, number = (await context.read_note(live.draft_note_name(run)) or "").rpartition(" ")
        if draft_chat != chat:
            return False
        try:
            await call_with_wait(
                partial(self._api.edit_message, chat, parse_note_number(number), part, html=text.format_html(part))
            )
        except CallRefused as error:
            if error.code != 400 or error.new_chat is not None:
                raise
            return False  # somebody has deleted the draft
        return True
