"""The Telegram channel: hands in what people write to the bot, and answers their commands.

Messages come by long polling, or Telegram posts them. Each is on disk before Telegram is told that it
was received, and its number identifies it: a message that comes twice becomes one run. `sending` sends
the answers.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import msgspec
from msgspec import Raw

from gateway import log
from gateway.channels import ChannelResources
from gateway.channels.telegram import incoming, live, requests
from gateway.channels.telegram.botapi import BotApi, CallRefused, TelegramUnreachable, call_with_wait
from gateway.channels.telegram.downloads import Downloads
from gateway.channels.telegram.options import Options, derive_webhook_secret, find_token
from gateway.channels.telegram.sending import AnswerSender
from gateway.channels.telegram.strangers import RefusalLimit
from gateway.channels.telegram.waiting import WaitingMessages, require_message
from gateway.channels.telegram.wire import CallbackQuery, Message, NumberedUpdate, Update, parse_note_number
from gateway.domain.delivery import CHAT_FORMAT, SendResult, Target
from gateway.domain.file import File
from gateway.domain.inbound import ImmediateReply, InboundMessage, IncomingFile
from gateway.domain.permission import Answer
from gateway.domain.ports.channel import ChannelContext, ChannelState, OutgoingMessage, WebhookReceiver
from gateway.domain.run import Run
from gateway.errors import Conflict, GatewayError, InvalidRequest, StorageFull, Unavailable
from gateway.proxy import choose_proxy
from gateway.security import signatures

TELEGRAM_SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 a header's name

#: seconds between tries to reach Telegram: the first pause, and the longest
RECONNECT_PAUSES_SECONDS = 1.0, 60.0
#: seconds between tries to hand in a message, while our own disk refuses it
TELEGRAM_STORAGE_RETRY_SECONDS = 1.0
#: days without an update after which Telegram may start to count from another number; ours is forgotten earlier
OFFSET_NOTE_DAYS = 6.0
#: seconds that Telegram may take to post again what was not acknowledged when the last process ended
WEBHOOK_REPEAT_SECONDS = 15.0
#: label of runs: chat and number of the message that asked for it
MESSAGE_LABEL = "telegram_message"
#: replies to commands that may wait to be sent
MAX_WAITING_REPLIES = 100

_PAIRING_CODE_PATTERN = re.compile(r"[A-Za-z0-9]{8}")
_OK_REPLY = ImmediateReply(body={"status": "ok"})
_HELP_TEXT = "Write to the agent. /new starts a new conversation, /stop stops what is running, /status shows it."
_ANSWER_BY_COMMAND = {"allow": Answer.ALLOW, "always": Answer.ALLOW_ALWAYS, "deny": Answer.DENY}
#: what somebody reads who has pressed a button
_PRESS_REPLIES = {
    Answer.ALLOW: "Allowed.",
    Answer.ALLOW_ALWAYS: "Allowed.",
    Answer.DENY: "Denied.",
    Answer.ANSWER: "Answered.",
}

_log = log.get()


class TelegramChannel:
    """One bot. A `Channel`, and the `WebhookReceiver` of its webhook."""

    name = "telegram"

    def __init__(self, options: Options, resources: ChannelResources) -> None:
        token = find_token(options, resources.environ)
        self.agent = options.agent
        self._options = options
        self._secret = derive_webhook_secret(token)
        proxy = choose_proxy(options.base_url, resources.environ, options.proxy, "channels.telegram.proxy")
        self._api = BotApi(options.base_url, token, proxy)
        self._sender = AnswerSender(self._api, options, resources.clock)
        self._downloads = Downloads(self._api)
        self._waiting = WaitingMessages(self._submit_waiting)
        self._refusals = RefusalLimit()
        self._clock = resources.clock
        self._state = ChannelState(state="passive", detail="another process leads, or none does yet")
        self._last_poll: int | None = None
        #: seconds until Telegram is tried again after a failure
        self._pause = RECONNECT_PAUSES_SECONDS[0]
        #: the bot's name; None until Telegram has told it
        self._username: str | None = None
        self._replies: set[asyncio.Task[None]] = set()
        #: the album whose sender was told last what is not read of it
        self._last_album = ""

    async def __aenter__(self) -> TelegramChannel:
        await self._api.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop_progress()
        for reply in self._replies:
            reply.cancel()
        await asyncio.gather(*self._replies, return_exceptions=True)
        await self._api.__aexit__(*exc)

    @property
    def webhook_receiver(self) -> WebhookReceiver | None:
        return self if self._options.mode == "webhook" else None

    @property
    def state(self) -> ChannelState:
        return msgspec.structs.replace(self._state, last_poll=self._last_poll)

    def list_allowed_chats(self) -> list[str]:
        return [str(chat) for chat in self._options.chats]

    # --- receiving --------------------------------------------------------------------------

    async def receive_messages(self, context: ChannelContext) -> None:
        self._sender.accept_drafts()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._waiting.submit_when_complete(context), name="telegram-waiting")
                await self._receive_updates(context)
        finally:
            self._state = ChannelState(state="passive", detail="another process leads")

    async def _receive_updates(self, context: ChannelContext) -> None:
        """Receive updates; after a failure, begin again."""
        while True:
            try:
                await (self._serve_webhook() if self._options.mode == "webhook" else self._poll_updates(context))
            except (CallRefused, TelegramUnreachable) as error:
                self._report_trouble(error)
                asked = error.retry_after if isinstance(error, CallRefused) else None
                await asyncio.sleep(max(asked or 0, self._pause * random.uniform(0.5, 1.0)))  # noqa: S311 no secret
                self._pause = min(RECONNECT_PAUSES_SECONDS[1], self._pause * 2)

    async def _serve_webhook(self) -> None:
        """Have Telegram post messages to our webhook; `receive` accepts them."""
        self._username = (await self._api.get_me()).username
        url = f"{(self._options.webhook_url or '').rstrip('/')}/api/webhook/{self.name}"
        await self._api.set_webhook(url, self._secret)
        self._report_success("webhook", f"@{self._username}, messages are posted to {url}")
        self._waiting.start_counting(WEBHOOK_REPEAT_SECONDS)
        await asyncio.Event().wait()

    async def _poll_updates(self, context: ChannelContext) -> None:
        """Ask Telegram for messages, again and again."""
        self._username = (await self._api.get_me()).username
        await self._api.delete_webhook()  # Telegram refuses getUpdates while a webhook is set
        offset = parse_note_number(await context.read_note("offset"))
        last_update, seconds = time.monotonic(), 0  # the first answer comes at once, and shows that it works
        while True:
            updates = await self._api.get_updates(offset, seconds)
            self._last_poll = self._clock()
            for update in updates:
                offset = await self._hand_in(update, context)
                last_update = time.monotonic()
                await context.write_note("offset", str(offset), days=OFFSET_NOTE_DAYS)
            if not seconds:
                self._report_success("polling", f"@{self._username}")
                self._waiting.start_counting()
                seconds = self._options.poll_seconds
            if time.monotonic() - last_update > OFFSET_NOTE_DAYS * 86_400:
                offset, last_update = 0, time.monotonic()

    async def _hand_in(self, raw: Raw, context: ChannelContext) -> int:
        """Handle one update, and try again while our disk refuses it; return the number of the next one."""
        number = msgspec.json.decode(raw, type=NumberedUpdate).update_id
        while True:
            try:
                await self._handle_update(_read_update(raw), context)
            except (Unavailable, StorageFull) as error:
                _log.warning("telegram.cannot_take", update=number, error=str(error))
                await asyncio.sleep(TELEGRAM_STORAGE_RETRY_SECONDS)
            except GatewayError as error:
                _log.warning("telegram.not_taken", update=number, error=str(error))
                return number + 1
            else:
                return number + 1

    def check_headers(self, headers: Mapping[str, str]) -> None:
        if not signatures.equals_constant_time(
            signatures.require_header(headers, TELEGRAM_SECRET_HEADER), self._secret
        ):
            raise signatures.wrong_signature()

    async def receive(self, headers: Mapping[str, str], body: bytes, context: ChannelContext) -> Run | ImmediateReply:
        return await self._handle_update(_read_update(body), context)

    async def _handle_update(self, update: Update, context: ChannelContext) -> Run | ImmediateReply:
        if update.callback_query is not None:
            await self._handle_button(update.callback_query, context)
        message = update.message or update.edited_message
        if message is None or not incoming.is_from_person(message):
            return _OK_REPLY
        said = message.text or message.caption
        if incoming.is_for_other_bot(said, self._username) or not (said or message.has_media):
            return _OK_REPLY
        command = incoming.parse_command(said)
        if message.chat.id not in self._options.chats and not await context.is_paired(str(message.chat.id)):
            await self._handle_stranger(message, command.word if command and command.word else said.strip(), context)
            return _OK_REPLY
        if update.edited_message is not None:  # one without a text, such as each move of a live location, is nothing
            return await self._handle_in_order(update, context) if said else _OK_REPLY
        if command is not None:
            if message.has_media:
                self._reply_later(incoming.read_address(message), "A command takes no file: it was not handed on.")
            if command.is_ordered:
                return await self._handle_in_order(update, context)
            await self._handle_command(command.verb, incoming.read_address(message), context)
            return _OK_REPLY
        return await self._handle_message(update, message, context)

    async def _handle_message(self, update: Update, message: Message, context: ChannelContext) -> Run | ImmediateReply:
        """Handle a message that is no command: it answers a question, or is for the agent."""
        said = message.text or message.caption
        if (which := await self._find_replied_question(message, context)) is not None:
            if message.has_media:
                self._explain_media(message, "A question takes only text: the file was not handed on.")
            if said:
                await self._answer_permission(incoming.read_address(message), Answer.ANSWER, context, which, said)
        elif incoming.find_file(message) is None:
            if said:
                return await self._handle_in_order(update, context)
            self._explain_media(message, "This bot reads only text and files.")
        elif said or message.media_group_id or incoming.is_addressed_to_bot(message, self._username):
            await self._waiting.add_message(update, context)
        return _OK_REPLY

    async def _handle_in_order(self, update: Update, context: ChannelContext) -> Run | ImmediateReply:
        """Handle an update without a file, after those of its chat that wait for their files."""
        waits = await self._waiting.add_behind(update, context)
        return _OK_REPLY if waits else await self._handle_text(update, context)

    async def _handle_text(self, update: Update, context: ChannelContext) -> Run | ImmediateReply:
        message = require_message(update)
        if update.edited_message is not None:
            return await self._handle_edit(update.update_id, message, context)
        said = message.text or message.caption
        if (command := incoming.parse_command(said)) is None:
            return await self._submit_inbound(self._compose_message(update.update_id, message, said), context)
        await self._handle_command(command.verb, incoming.read_address(message), context)
        return _OK_REPLY

    def _explain_media(self, message: Message, why: str) -> None:
        """Say why something is not read, once an album; in a group only to a reply to the bot."""
        if not incoming.is_addressed_to_bot(message, self._username):
            return
        if message.media_group_id and message.media_group_id == self._last_album:
            return
        self._last_album = message.media_group_id
        self._reply_later(incoming.read_address(message), why)

    async def _submit_waiting(self, updates: Sequence[Update], context: ChannelContext) -> None:
        """Submit a message that has waited, or handle what waited behind one."""
        first = require_message(updates[0])
        try:
            if updates[0].edited_message or incoming.parse_command(first.caption) or not incoming.find_file(first):
                await self._handle_text(updates[0], context)
            else:
                await self._submit_files(updates, context)
        except (Unavailable, StorageFull):
            raise
        except GatewayError as error:
            _log.warning("telegram.not_taken", update=updates[0].update_id, error=str(error))

    async def _submit_files(self, updates: Sequence[Update], context: ChannelContext) -> None:
        """Submit a message with files; the parts of an album are one message, with all their captions."""
        messages = [require_message(update) for update in updates]
        captions = [message.caption for message in messages if message.caption]
        if not captions and not any(incoming.is_addressed_to_bot(message, self._username) for message in messages):
            return
        files = [file for message in messages if (file := incoming.find_file(message)) is not None]
        said = "\n\n".join(captions) or incoming.describe_files(files)
        shown = next((message for message in messages if message.caption), messages[0])
        attachments = tuple(self._downloads.make_incoming(file) for file in files)
        await self._submit_inbound(self._compose_message(updates[0].update_id, shown, said, attachments), context)

    async def _handle_edit(self, number: int, message: Message, context: ChannelContext) -> Run | ImmediateReply:
        """Change a message that waits; one that the agent has seen is said again, if the settings want that."""
        said = message.text or message.caption
        earlier = await context.find_run(*_message_label(message))
        if incoming.parse_command(said) or earlier is None:
            return _OK_REPLY
        inbound = self._compose_message(number, message, said, earlier.spec.attachments)
        if await context.change_input(earlier.id, inbound.content) or self._options.edits != "again":
            return _OK_REPLY
        return await self._submit_inbound(inbound, context)

    def _compose_message(
        self, number: int, message: Message, said: str, attachments: tuple[IncomingFile | File, ...] = ()
    ) -> InboundMessage:
        chat = incoming.read_address(message)
        name, value = _message_label(message)
        return InboundMessage(
            id=str(number),
            chat=chat,
            content=incoming.compose_input(message, said, self._username),
            reply_to=Target(kind=self.name, address=chat, format=CHAT_FORMAT, trusted=True),
            labels={name: value},
            attachments=attachments,
            tell_left_out=lambda reason: self._reply_later(chat, f"Not handed on: {reason}."),
        )

    async def _submit_inbound(self, inbound: InboundMessage, context: ChannelContext) -> Run | ImmediateReply:
        try:
            return await context.submit_message(inbound)
        except (Unavailable, StorageFull):
            raise
        except GatewayError as error:  # only the people in the chat can do something about it
            self._reply_later(inbound.chat, f"The gateway did not accept that: {error.message}")
            return _OK_REPLY

    async def _handle_command(self, command: str, chat: str, context: ChannelContext) -> None:
        match command:
            case "new":
                await context.start_new_session(chat)
                self._reply_later(chat, "A new conversation starts here.")
            case "stop":
                if not await context.cancel_runs(chat):  # otherwise each answer says that it was stopped
                    self._reply_later(chat, "Nothing is running.")
            case "status":
                now = await context.read_status(chat)
                doing = (
                    f"{now.running_runs} running, {now.queued_runs} waiting"
                    if now.running_runs + now.queued_runs
                    else "idle"
                )
                self._reply_later(chat, f"Agent {now.agent}: {doing}.\nSession {now.session}")
            case "allow" | "always" | "deny":
                await self._answer_permission(chat, _ANSWER_BY_COMMAND[command], context)
            case _:
                self._reply_later(chat, _HELP_TEXT)

    async def _handle_button(self, query: CallbackQuery, context: ChannelContext) -> None:
        """Answer the permission request of a button; a press counts only in a chat that may talk to agents."""
        pressed = requests.parse_button(query.data)
        if pressed is None or query.message is None:
            return
        chat = incoming.read_address(query.message)
        if query.message.chat.id not in self._options.chats and not await context.is_paired(str(query.message.chat.id)):
            return
        which = pressed.run, pressed.request
        given = requests.read_press(pressed.word, await context.find_question(chat, which))
        try:
            found = None if given is None else await context.answer_permission(chat, given.answer, which, given.content)
            said = "It is not waiting any more." if given is None or found is None else _PRESS_REPLIES[given.answer]
        except (InvalidRequest, Conflict) as error:
            said = f"The gateway did not accept that: {error.message}"
        self._send_later(chat, partial(self._api.answer_button, query.id, said))

    async def _answer_permission(
        self,
        chat: str,
        answer: Answer,
        context: ChannelContext,
        which: tuple[str, str] | None = None,
        content: str | None = None,
    ) -> None:
        try:
            # Otherwise the draft shows the answer.
            if await context.answer_permission(chat, answer, which, content) is None:
                self._reply_later(chat, "Nothing is waiting to be allowed.")
        except (InvalidRequest, Conflict) as error:
            self._reply_later(chat, f"The gateway did not accept that: {error.message}")

    async def _find_replied_question(self, message: Message, context: ChannelContext) -> tuple[str, str] | None:
        """Return the ids of the run and the question that a message answers: it replies to the draft that shows it."""
        if message.reply_to_message is None:
            return None
        chat = incoming.read_address(message)
        which = await live.find_shown_request(context, chat, message.reply_to_message.message_id)
        return None if which is None or await context.find_question(chat, which) is None else which

    async def _handle_stranger(self, message: Message, code: str, context: ChannelContext) -> None:
        """Pair a chat that sends a valid code; tell another one, once a day, that it needs a code."""
        chat, address = str(message.chat.id), incoming.read_address(message)
        if _PAIRING_CODE_PATTERN.fullmatch(code) and await context.redeem_code(code, chat, message.chat.display_name):
            _log.info("telegram.paired", chat=chat)
            self._reply_later(address, f"Paired. {_HELP_TEXT}")
            return
        _log.info("telegram.stranger", chat=chat)
        if self._refusals.may_refuse(chat):
            self._reply_later(address, "This bot talks only to paired chats. Ask the person who runs it for a code.")

    # --- sending ----------------------------------------------------------------------------

    async def send_message(self, out: OutgoingMessage, context: ChannelContext) -> SendResult:
        return await self._sender.send_answer(out, context)

    def show_progress(self, run: str, chat: str, context: ChannelContext) -> None:
        self._sender.show_draft(run, chat, context)

    async def stop_progress(self) -> None:
        await self._sender.end_all_drafts()

    def _reply_later(self, chat: str, reply: str) -> None:
        self._send_later(chat, partial(self._api.send_message, chat, reply))

    def _send_later(self, chat: str, call: Callable[[], Awaitable[object]]) -> None:
        """Send a reply to a command in a task; when too many wait, or it fails, it is dropped."""
        if len(self._replies) < MAX_WAITING_REPLIES:
            task = asyncio.create_task(self._send_reply(chat, call), name="telegram-reply")
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)

    async def _send_reply(self, chat: str, call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call_with_wait(call)
        except (CallRefused, TelegramUnreachable) as error:
            _log.warning("telegram.reply_lost", chat=chat, error=str(error))

    # --- state ------------------------------------------------------------------------------

    def _report_success(self, state: str, detail: str) -> None:
        self._pause = RECONNECT_PAUSES_SECONDS[0]
        self._state = ChannelState(state=state, detail=detail)
        _log.info("telegram.works", state=state)

    def _report_trouble(self, error: CallRefused | TelegramUnreachable) -> None:
        reasons = {
            401: "the token is wrong or was revoked",
            404: "the token is wrong, or base_url is",
            409: "another program asks for this bot's messages",
        }
        code = error.code if isinstance(error, CallRefused) else 0
        detail = f"{reasons.get(code, 'Telegram cannot be reached')}: {error}"
        self._state = ChannelState(state="refused" if code in (401, 404) else "waiting", detail=detail)
        _log.warning("telegram.trouble", error=detail)


def _message_label(message: Message) -> tuple[str, str]:
    """Return the name and the value of the label by which a message's run is found."""
    return MESSAGE_LABEL, f"{message.chat.id}/{message.message_id}"


def _read_update(data: bytes | Raw) -> Update:
    """Read an update.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        return msgspec.json.decode(data, type=Update)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not a Telegram update: {error}.") from error
