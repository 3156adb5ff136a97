"""The Telegram channel: brings in what is said to the bot, and sends what agents answer.

Messages are asked for by long polling, or posted by Telegram. Each is on disk before Telegram is
told that it was taken, and is known by its number: taken twice, it is one. An answer that comes in
several messages notes each that was sent, so that a try after a crash goes on behind it.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from weakref import WeakValueDictionary

import msgspec
from msgspec import Raw

from gateway import log
from gateway.channels import Means
from gateway.channels.telegram import live, text
from gateway.channels.telegram.botapi import BotApi, Refused, Unreachable, patiently
from gateway.channels.telegram.live import Draft
from gateway.channels.telegram.options import Options, find_token, webhook_secret
from gateway.channels.telegram.wire import CallbackQuery, Message, Numbered, Update
from gateway.domain.delivery import CHAT, Delivered, Never, Receipt, Target, TryAgain
from gateway.domain.inbound import Aside, Inbound
from gateway.domain.permission import Answer
from gateway.domain.ports.channel import ChannelState, Desk, Door, Outgoing
from gateway.domain.run import Run
from gateway.errors import Conflict, GatewayError, InvalidRequest, StorageFull, Unavailable
from gateway.security import signatures

SECRET = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 a header's name

#: seconds between tries to reach Telegram: from, to
PAUSES = 1.0, 60.0
#: seconds between tries to send within one, while Telegram cannot be reached
SHORTLY = 1.0, 2.0, 4.0, 8.0
#: seconds between tries when our own disk refuses
DISK = 1.0
#: days of silence after which Telegram may count updates anew; positions are forgotten before
POSITION = 6.0
#: a stranger hears once in so many seconds that he is one, and so many strangers in an hour
REFUSED_AGAIN, REFUSED_AN_HOUR = 86_400.0, 20
#: strangers that are remembered
STRANGERS = 1000
#: replies to commands that may wait to be sent
REPLIES = 100
#: seconds that a call for a draft may take to end, before the answer is sent and before another process leads
ENDING, LEAVING = 20.0, 3.0
#: runs whose answers were sent that are remembered
ANSWERED = 1000
#: days that it is remembered how far an answer was sent
SENT = 7.0

_COMMAND = re.compile(r"/(?P<verb>new|stop|status|allow|always|deny|start|help)(@(?P<bot>\w+))?(\s+(?P<word>\S+))?\s*")
_CODE = re.compile(r"[A-Za-z0-9]{8}")
_DONE = Aside(body={"status": "ok"})
_HELP = "Write to the agent. /new begins a new conversation, /stop stops what is going on, /status says what that is."
_ANSWERS = {"allow": Answer.ALLOW, "always": Answer.ALLOW_ALWAYS, "deny": Answer.DENY}

_log = log.get()


class Telegram:
    """One bot. A `Channel`, and the `Door` of its webhook."""

    name = "telegram"

    def __init__(self, options: Options, means: Means) -> None:
        token = find_token(options, means.environ)
        self.agent = options.agent
        self._options = options
        self._clock = means.clock
        self._secret = webhook_secret(token)
        self._api = BotApi(options.base_url, token)
        self._state = ChannelState(state="passive", detail="another process leads, or none does yet")
        #: seconds until Telegram is tried again after trouble
        self._pause = PAUSES[0]
        #: what the bot is called, once Telegram has said so
        self._username: str | None = None
        self._drafts: dict[str, Draft] = {}
        self._quiet = False
        #: runs whose answers were sent: a draft that comes later is none any more
        self._answered: OrderedDict[str, None] = OrderedDict()
        #: held while something is sent to a chat
        self._sending: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        #: when strangers were last told that they are
        self._strangers: OrderedDict[str, float] = OrderedDict()
        self._replies: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Telegram:
        await self._api.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.quieten()
        for reply in self._replies:
            reply.cancel()
        await asyncio.gather(*self._replies, return_exceptions=True)
        await self._api.__aexit__(*exc)

    @property
    def door(self) -> Door | None:
        return self if self._options.mode == "webhook" else None

    @property
    def state(self) -> ChannelState:
        return self._state

    def allowed(self) -> list[str]:
        return [str(chat) for chat in self._options.chats]

    # --- in ---------------------------------------------------------------------------------

    async def run(self, desk: Desk) -> None:
        self._quiet = False
        try:
            while True:
                try:
                    await (self._be_posted_to() if self._options.mode == "webhook" else self._ask(desk))
                except (Refused, Unreachable) as error:
                    self._trouble(error)
                    asked = error.retry_after if isinstance(error, Refused) else None
                    await asyncio.sleep(max(asked or 0, self._pause * random.uniform(0.5, 1.0)))  # noqa: S311 no secret
                    self._pause = min(PAUSES[1], self._pause * 2)
        finally:
            self._state = ChannelState(state="passive", detail="another process leads")

    async def _be_posted_to(self) -> None:
        """Have Telegram post messages; they come by the door."""
        self._username = (await self._api.me()).username
        url = f"{(self._options.webhook_url or '').rstrip('/')}/api/webhook/{self.name}"
        await self._api.set_webhook(url, self._secret)
        self._works("webhook", f"@{self._username}, messages are posted to {url}")
        await asyncio.Event().wait()

    async def _ask(self, desk: Desk) -> None:
        """Ask Telegram for messages, again and again."""
        self._username = (await self._api.me()).username
        await self._api.delete_webhook()  # with one, asking is refused
        offset = int(await desk.note("offset") or 0)
        heard, seconds = time.monotonic(), 0  # the first answer comes at once, and says that it works
        while True:
            for update in await self._api.updates(offset, seconds):
                offset = await self._bring_in(update, desk)
                heard = time.monotonic()
                await desk.keep("offset", str(offset), days=POSITION)
            if not seconds:
                self._works("polling", f"@{self._username}")
                seconds = self._options.poll_seconds
            if time.monotonic() - heard > POSITION * 86_400:
                offset, heard = 0, time.monotonic()

    async def _bring_in(self, raw: Raw, desk: Desk) -> int:
        """Take one update, for as long as it takes; returns the position after it."""
        number = msgspec.json.decode(raw, type=Numbered).update_id
        while True:
            try:
                await self._take(_update(raw), desk)
            except (Unavailable, StorageFull) as error:
                _log.warning("telegram.cannot_take", update=number, error=str(error))
                await asyncio.sleep(DISK)
            except GatewayError as error:
                _log.warning("telegram.not_taken", update=number, error=str(error))
                return number + 1
            else:
                return number + 1

    def admit(self, headers: Mapping[str, str]) -> None:
        if not signatures.same(signatures.header(headers, SECRET), self._secret):
            raise signatures.wrong()

    async def take(self, headers: Mapping[str, str], body: bytes, desk: Desk) -> Run | Aside:
        return await self._take(_update(body), desk)

    async def _take(self, update: Update, desk: Desk) -> Run | Aside:
        message = update.message
        if update.callback_query is not None:
            await self._pressed(update.callback_query, desk)
        if message is None or message.sender.is_bot:
            return _DONE
        chat, said = str(message.chat.id), message.text or message.caption
        command = _COMMAND.fullmatch(said)
        if message.chat.id not in self._options.chats and not await desk.knows(chat):
            await self._meet(message, command["word"] if command and command["word"] else said.strip(), desk)
        elif not said:
            self._say(chat, "Only text is read here.")
        elif command and self._username and command["bot"] not in (None, self._username):
            pass  # it is another bot's
        elif command:
            await self._obey(command["verb"], chat, desk)
        else:
            return await self._submit(update.update_id, chat, said, desk)
        return _DONE

    async def _submit(self, number: int, chat: str, said: str, desk: Desk) -> Run | Aside:
        reply_to = Target(kind=self.name, address=chat, format=CHAT, trusted=True)
        try:
            return await desk.submit(Inbound(id=str(number), chat=chat, content=said, reply_to=reply_to))
        except (Unavailable, StorageFull):
            raise
        except GatewayError as error:  # nobody but the chat itself can do something about it
            self._say(chat, f"That was not taken: {error.message}")
            return _DONE

    async def _obey(self, command: str, chat: str, desk: Desk) -> None:
        match command:
            case "new":
                await desk.begin_anew(chat)
                self._say(chat, "A new conversation begins here.")
            case "stop":
                if not await desk.stop(chat):  # else each answer says that it was stopped
                    self._say(chat, "Nothing is going on.")
            case "status":
                now = await desk.standing(chat)
                doing = f"{now.running} at work, {now.queued} waiting" if now.running + now.queued else "idle"
                self._say(chat, f"Agent {now.agent}: {doing}.\nSession {now.session}")
            case "allow" | "always" | "deny":
                await self._permit(chat, _ANSWERS[command], desk)
            case _:
                self._say(chat, _HELP)

    async def _pressed(self, query: CallbackQuery, desk: Desk) -> None:
        """Answer what a button belongs to; a press counts only in a chat that may talk to agents."""
        meant = live.pressed(query.data)
        if meant is None or query.message is None:
            return
        chat = str(query.message.chat.id)
        if query.message.chat.id not in self._options.chats and not await desk.knows(chat):
            return
        run, request, answer = meant
        try:
            found = await desk.permit(chat, answer, (run, request))
            said = "It does not wait any more." if found is None else "Denied." if answer is Answer.DENY else "Allowed."
        except (InvalidRequest, Conflict) as error:
            said = f"That was not taken: {error.message}"
        self._soon(chat, partial(self._api.heard, query.id, said))

    async def _permit(self, chat: str, answer: Answer, desk: Desk) -> None:
        try:
            if await desk.permit(chat, answer) is None:  # else the draft says that it was answered
                self._say(chat, "Nothing waits to be allowed.")
        except (InvalidRequest, Conflict) as error:
            self._say(chat, f"That was not taken: {error.message}")

    # --- strangers --------------------------------------------------------------------------

    async def _meet(self, message: Message, code: str, desk: Desk) -> None:
        """Let a chat in that knows a code; tell another one, once, what it needs."""
        chat = str(message.chat.id)
        if _CODE.fullmatch(code) and await desk.redeem(code, chat, message.chat.name):
            _log.info("telegram.paired", chat=chat)
            self._say(chat, f"Paired. {_HELP}")
            return
        _log.info("telegram.stranger", chat=chat)
        if self._may_refuse(chat):
            self._say(chat, "This bot talks to chats that were paired. Ask who runs it for a code.")

    def _may_refuse(self, chat: str) -> bool:
        now = time.monotonic()
        lately = sum(now - at < 3600 for at in self._strangers.values())
        last = self._strangers.get(chat)
        if lately >= REFUSED_AN_HOUR or (last is not None and now - last < REFUSED_AGAIN):
            return False
        self._strangers[chat] = now
        self._strangers.move_to_end(chat)
        if len(self._strangers) > STRANGERS:
            self._strangers.popitem(last=False)
        return True

    # --- out --------------------------------------------------------------------------------

    async def send(self, out: Outgoing, desk: Desk) -> Receipt:
        lock = self._sending.setdefault(out.chat, asyncio.Lock())  # a chat hears one answer after the other
        async with lock:
            age = (self._clock() - out.at) / 1000
            if age > self._options.stale_after:
                return Never(f"it is {age:.0f} s old: channels.telegram.stale_after keeps it back")
            await self._end_draft(out.run)
            return await self._try(out, desk, SHORTLY)

    async def _try(self, out: Outgoing, desk: Desk, pauses: Sequence[float]) -> Receipt:
        """Try, and again shortly where the network is what fails: it may be a moment only."""
        try:
            await self._send_where_it_is(out, desk)
        except Refused as error:
            return Never(str(error)) if error.for_good else TryAgain(str(error), error.retry_after or 0.0)
        except Unreachable as error:
            if not pauses:
                return TryAgain(f"Telegram cannot be reached: {error}")
        else:
            return Delivered()
        await asyncio.sleep(pauses[0])
        return await self._try(out, desk, pauses[1:])

    async def _end_draft(self, run: str) -> None:
        """Show no more of a run, whose answer comes now."""
        self._answered[run] = None
        if len(self._answered) > ANSWERED:
            self._answered.popitem(last=False)
        draft = self._drafts.pop(run, None)
        if draft is not None:
            await draft.end(ENDING)

    async def _send_where_it_is(self, out: Outgoing, desk: Desk) -> None:
        try:
            await self._send(out, out.chat, desk)
        except Refused as error:
            if error.moved is None:
                raise
            await desk.moved(out.chat, str(error.moved))
            await self._send(out, str(error.moved), desk)

    async def _send(self, out: Outgoing, chat: str, desk: Desk) -> None:
        parts = text.split(out.text) or ["(The answer is empty.)"]
        noted = f"sent:{out.id}"
        done = int(await desk.note(noted) or 0)
        for number, part in enumerate(parts[done:], done):
            if number > 0 or not await self._in_place_of_draft(out.run, chat, part, desk):
                await patiently(partial(self._api.send, chat, part, html=text.formatted(part)))
            await desk.keep(noted, str(number + 1), days=SENT)

    async def _in_place_of_draft(self, run: str, chat: str, part: str, desk: Desk) -> bool:
        """Make the answer out of what was shown while it was written, if anything was."""
        where, _, number = (await desk.note(live.note(run)) or "").rpartition(" ")
        if where != chat:
            return False
        try:
            await patiently(partial(self._api.edit, chat, int(number), part, html=text.formatted(part)))
        except Refused as error:
            if error.code != 400 or error.moved is not None:
                raise
            return False  # somebody has deleted it
        return True

    def live(self, run: str, chat: str, desk: Desk) -> None:
        if run not in self._drafts and run not in self._answered and not self._quiet:
            draft = self._drafts[run] = Draft(self._api, desk, run, chat, self._options.edit_seconds)
            draft.task.add_done_callback(lambda _: self._drafts.pop(run, None))

    async def quieten(self) -> None:
        self._quiet = True
        await asyncio.gather(*(draft.end(LEAVING) for draft in list(self._drafts.values())))

    def _say(self, chat: str, reply: str) -> None:
        """Answer a command, soon; what cannot be said then is not said."""
        self._soon(chat, partial(self._api.send, chat, reply))

    def _soon(self, chat: str, call: Callable[[], Awaitable[object]]) -> None:
        if len(self._replies) < REPLIES:
            task = asyncio.create_task(self._answer(chat, call), name="telegram-reply")
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)

    async def _answer(self, chat: str, call: Callable[[], Awaitable[object]]) -> None:
        try:
            await patiently(call)
        except (Refused, Unreachable) as error:
            _log.warning("telegram.reply_lost", chat=chat, error=str(error))

    # --- state ------------------------------------------------------------------------------

    def _works(self, state: str, detail: str) -> None:
        self._pause = PAUSES[0]
        self._state = ChannelState(state=state, detail=detail)
        _log.info("telegram.works", state=state)

    def _trouble(self, error: Refused | Unreachable) -> None:
        said = {
            401: "the token is wrong or was revoked",
            404: "the token is wrong, or base_url is",
            409: "another program asks for this bot's messages",
        }
        code = error.code if isinstance(error, Refused) else 0
        detail = f"{said.get(code, 'Telegram cannot be reached')}: {error}"
        self._state = ChannelState(state="refused" if code in (401, 404) else "waiting", detail=detail)
        _log.warning("telegram.trouble", error=detail)


def _update(data: bytes | Raw) -> Update:
    """Read an update.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        return msgspec.json.decode(data, type=Update)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"that is no update of Telegram: {error}.") from error
