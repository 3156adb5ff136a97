"""A Bot API server as documented, for one bot, on loopback; the test plays the people who write to the bot.

It speaks getMe, getUpdates, setWebhook, deleteWebhook, sendMessage, editMessageText, sendChatAction,
answerCallbackQuery, getFile with the download, sendPhoto, sendAnimation and sendDocument, and follows their rules:
unconfirmed updates come again, one poller at a time, no polling while a webhook is set, messages of 1 to 4096 UTF-16
units after their formatting, files of up to 20 MB out, and of up to 10 MB (photos) or 50 MB in.
`Telegram.trouble` adds failures.

`python -m tests.support.telegram_server PORT` serves it for experiments: `POST /said {chat, text}`
writes to the bot, `GET /chats` shows its answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import itertools
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from harness.waiting import PATIENCE

BOT_TOKEN = "123456:AAtest-token_of-the-bot"
#: bytes of a file that `getFile` hands out, of a photo, and of every other file that a bot sends:
#: https://core.telegram.org/bots/api#getfile, https://core.telegram.org/bots/api#sending-files
MAX_DOWNLOAD_BYTES, MAX_PHOTO_BYTES, MAX_DOCUMENT_BYTES = 20 << 20, 10 << 20, 50 << 20

_TAG = re.compile(r"</?(pre|code|b|i|s)>")


@dataclass(frozen=True)
class Trouble:
    """A failure that a call gets instead of its result."""

    code: int
    description: str
    retry_after: int | None = None
    #: breaks the connection, before or after the call takes effect
    cut: str = ""
    migrate_to: int | None = None


@dataclass(frozen=True)
class Received:
    """A file that the bot has sent."""

    #: photo, animation or document
    kind: str
    name: str
    media_type: str
    content: bytes


@dataclass
class Chat:
    """One chat, as a person sees it."""

    #: the bot's messages by number, with their present text
    messages: dict[int, str] = field(default_factory=dict)
    #: all texts of each message, in order
    history: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    #: buttons of messages: the data that each button sends, by its label
    buttons: dict[int, dict[str, str]] = field(default_factory=dict)
    #: texts that were shown to the person who pressed a button
    told: list[str] = field(default_factory=list)
    #: files that the bot has sent, by the number of their message
    files: dict[int, Received] = field(default_factory=dict)
    #: topics of messages that were sent to one
    topics: dict[int, int] = field(default_factory=dict)
    #: how often the bot showed that it is typing
    typing: int = 0
    #: topics in which it did so
    typing_topics: set[int | None] = field(default_factory=set)

    @property
    def texts(self) -> list[str]:
        return [text for _, text in sorted(self.messages.items())]


class Telegram:
    """The server's state."""

    def __init__(self) -> None:
        self.base_url = ""
        self.chats: defaultdict[int, Chat] = defaultdict(Chat)
        #: the calls so far: method and parameters
        self.calls: list[tuple[str, dict[str, Any]]] = []
        #: failures by method, each used once; a function chooses one by the call's parameters
        self.trouble: defaultdict[str, list[Trouble | Callable[[dict[str, Any]], Trouble | None]]] = defaultdict(list)
        #: whether all connections are refused
        self.cut = False
        self.webhook: dict[str, Any] | None = None
        self.unconfirmed: list[dict[str, Any]] = []
        #: how often each update was delivered
        self.given: Counter[int] = Counter()
        #: contents of the files that people have sent, by their id
        self.contents: dict[str, bytes] = {}
        #: how often each file was downloaded, by its id
        self.downloads: Counter[str] = Counter()
        #: ids of files whose download breaks off in the middle
        self.broken: set[str] = set()
        #: names of the bot's files whose upload gets no answer for now, so that they are in no chat; ids of people's
        #: files whose download gets none
        self.held: set[str] = set()
        #: chats of presses that the bot has not answered, by the id of the press
        self.pressed: dict[str, int] = {}
        self._updates = itertools.count(1000)
        self._messages = itertools.count(1)
        self._poll: asyncio.Future[None] | None = None
        self._changed = asyncio.Event()

    # --- people -----------------------------------------------------------------------------

    async def say(self, chat: int, text: str, /, **more: Any) -> int:
        """Write to the bot; return the update's number."""
        message = {
            "message_id": next(self._messages),
            "date": 0,
            "chat": {"id": chat, "type": "private", "first_name": "Ada"},
            "from": {"id": abs(chat), "is_bot": False, "first_name": "Ada"},
            "text": text,
            **more,
        }
        update = {"update_id": next(self._updates), "message": message}
        self.unconfirmed.append(update)
        self._wake()
        if self.webhook is not None:
            await self.post(update)
        return int(update["update_id"])

    def keep(self, content: bytes, **fields: Any) -> dict[str, Any]:
        """Keep a file that somebody sends; return it as a message has it."""
        file_id = f"file{len(self.contents)}"
        self.contents[file_id] = content
        return {"file_id": file_id, "file_unique_id": f"u{file_id}", "file_size": len(content), **fields}

    async def send_photo(self, chat: int, content: bytes, /, **more: Any) -> int:
        """Send a photo to the bot, in two sizes; return the update's number."""
        small = {"file_id": "small", "file_unique_id": "small", "width": 90, "height": 90, "file_size": 3}
        photo = [small, self.keep(content, width=800, height=600)]
        return await self.say(chat, "", photo=photo, **more)

    async def say_in_group(self, chat: int, text: str, *, name: str = "Ada", **more: Any) -> int:
        """Write in a group that the bot is in; return the update's number."""
        group = {"id": chat, "type": "supergroup", "title": "Moon", "is_forum": True}
        person = {"id": 5, "is_bot": False, "first_name": name}
        return await self.say(chat, text, **{"chat": group, "from": person, **more})

    async def edit(self, number: int, chat: int, text: str, **more: Any) -> None:
        """Change the text of a message that was written to the bot."""
        message = {
            "message_id": number,
            "date": 0,
            "chat": {"id": chat, "type": "private", "first_name": "Ada"},
            "from": {"id": abs(chat), "is_bot": False, "first_name": "Ada"},
            "text": text,
            **more,
        }
        self.unconfirmed.append({"update_id": next(self._updates), "edited_message": message})
        self._wake()

    async def press(self, chat: int, label: str, *, at: int | None = None) -> None:
        """Press the button with this label, below the message that has it.

        Args:
            at: the chat that the press claims to come from, if it is another one.
        """
        ((number, data),) = [(n, row[label]) for n, row in self.chats[chat].buttons.items() if label in row]
        number_of_update = next(self._updates)
        query = {
            "id": f"q{number_of_update}",
            "from": {"id": abs(chat), "is_bot": False, "first_name": "Ada"},
            "message": {"message_id": number, "date": 0, "chat": {"id": at or chat, "type": "private"}},
            "chat_instance": "1",
            "data": data,
        }
        self.pressed[query["id"]] = chat
        self.unconfirmed.append({"update_id": number_of_update, "callback_query": query})
        self._wake()

    async def post(self, update: dict[str, Any]) -> int:
        """Post an update to the webhook; return the status."""
        assert self.webhook is not None
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.webhook["secret_token"]}
        async with (
            aiohttp.ClientSession() as client,
            client.post(self.webhook["url"], json=update, headers=headers) as answer,
        ):
            return answer.status

    async def until(self, condition: Callable[[], object], what: str = "it happens") -> None:
        """Wait until a condition holds."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited too long until {what}: {self.calls[-5:]}") from None

    async def answered(self, chat: int, *texts: str) -> None:
        """Wait until a chat has exactly these messages."""
        await self.until(lambda: self.chats[chat].texts == list(texts), f"{chat} has {texts}")

    def count(self, method: str) -> int:
        return sum(called == method for called, _ in self.calls)

    # --- the API ----------------------------------------------------------------------------

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._connected], client_max_size=2 * MAX_DOCUMENT_BYTES)
        app.add_routes(
            [
                web.post("/bot{token}/{method}", self._call),
                web.get("/file/bot{token}/{path:.+}", self._download),
                web.post("/said", self._said),
                web.get("/chats", self._shown),
            ]
        )
        return app

    @web.middleware
    async def _connected(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.cut:
            _cut(request)
        answer: web.StreamResponse = await handler(request)
        if self.cut:
            _cut(request)
        return answer

    async def _call(self, request: web.Request) -> web.Response:
        method, params = request.match_info["method"], await _read_params(request)
        if request.match_info["token"] != BOT_TOKEN:
            return _refusal(Trouble(401, "Unauthorized"))
        self.calls.append((method, params))
        self._wake()
        while any(isinstance(given, tuple) and given[0] in self.held for given in params.values()):
            await asyncio.sleep(0.01)
        trouble = self._planned(method, params)
        if trouble is not None and trouble.cut != "after":
            if trouble.cut:
                _cut(request)
            self._wake()
            return _refusal(trouble)
        handler = getattr(self, f"_{_snake(method)}", None)
        if handler is None:
            return _refusal(Trouble(404, "Not Found"))
        try:
            result = await handler(params)
        except _Refused as error:
            return _refusal(error.trouble)
        finally:
            self._wake()
        if trouble is not None:
            _cut(request)
        return web.json_response({"ok": True, "result": result})

    def _planned(self, method: str, params: dict[str, Any]) -> Trouble | None:
        for planned in self.trouble[method]:
            if isinstance(planned, Trouble):
                self.trouble[method].remove(planned)
                return planned
            if (decided := planned(params)) is not None:
                return decided
        return None

    async def _get_me(self, params: dict[str, Any]) -> Any:
        return {"id": 123456, "is_bot": True, "first_name": "Moon", "username": "moon_bot"}

    async def _get_updates(self, params: dict[str, Any]) -> Any:
        if self.webhook is not None:
            raise _Refused(409, "Conflict: can't use getUpdates method while webhook is active")
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)  # the earlier poller is refused
        poll = self._poll = asyncio.get_running_loop().create_future()
        offset = params.get("offset", 0)
        self.unconfirmed = [update for update in self.unconfirmed if update["update_id"] >= offset]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(params.get("timeout", 0)):
                while not self.unconfirmed and not poll.done():
                    self._changed.clear()
                    changed = asyncio.ensure_future(self._changed.wait())
                    await asyncio.wait({changed, poll}, return_when=asyncio.FIRST_COMPLETED)
                    changed.cancel()
        if poll.done():
            raise _Refused(409, "Conflict: terminated by other getUpdates request")
        wanted = {"update_id", *params["allowed_updates"]}
        found = [update for update in self.unconfirmed if update.keys() <= wanted][: params.get("limit", 100)]
        self.given.update(update["update_id"] for update in found)
        return found

    async def _set_webhook(self, params: dict[str, Any]) -> Any:
        self.webhook = params
        return True

    async def _delete_webhook(self, params: dict[str, Any]) -> Any:
        self.webhook = None
        return True

    async def _send_message(self, params: dict[str, Any]) -> Any:
        chat, text = self.chats[int(params["chat_id"])], _read(params)
        number = next(self._messages)
        chat.messages[number] = text
        chat.history[number].append(text)
        chat.buttons[number] = _keyboard(params)
        if "message_thread_id" in params:
            chat.topics[number] = params["message_thread_id"]
        return {"message_id": number, "date": 0, "chat": {"id": int(params["chat_id"])}, "text": text}

    async def _edit_message_text(self, params: dict[str, Any]) -> Any:
        chat, number, text = self.chats[int(params["chat_id"])], params["message_id"], _read(params)
        if number not in chat.messages:
            raise _Refused(400, "Bad Request: message to edit not found")
        if chat.messages[number] == text and chat.buttons[number] == _keyboard(params):
            raise _Refused(400, "Bad Request: message is not modified: specified new message content is the same")
        chat.messages[number] = text
        chat.history[number].append(text)
        chat.buttons[number] = _keyboard(params)
        return {"message_id": number, "date": 0, "chat": {"id": int(params["chat_id"])}, "text": text}

    async def _answer_callback_query(self, params: dict[str, Any]) -> Any:
        chat = self.pressed.pop(params["callback_query_id"], None)
        if chat is None:
            raise _Refused(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
        self.chats[chat].told.append(params.get("text", ""))
        return True

    async def _get_file(self, params: dict[str, Any]) -> Any:
        content = self.contents.get(params["file_id"])
        if content is None:
            raise _Refused(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        if len(content) > MAX_DOWNLOAD_BYTES:
            raise _Refused(400, "Bad Request: file is too big")
        return {"file_id": params["file_id"], "file_unique_id": "u", "file_path": f"files/{params['file_id']} 1.bin"}

    async def _download(self, request: web.Request) -> web.StreamResponse:
        file_id = request.match_info["path"].removeprefix("files/").removesuffix(" 1.bin")
        if request.match_info["token"] != BOT_TOKEN or file_id not in self.contents:
            return _refusal(Trouble(404, "Not Found"))
        self.downloads[file_id] += 1
        self._wake()
        while file_id in self.held:
            await asyncio.sleep(0.01)
        content = self.contents[file_id]
        if file_id not in self.broken:
            return web.Response(body=content, content_type="application/octet-stream")
        answer = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await answer.prepare(request)
        await answer.write(content[: len(content) // 2])
        _cut(request)
        return answer

    async def _send_photo(self, params: dict[str, Any]) -> Any:
        return self._receive_file(params, "photo", MAX_PHOTO_BYTES)

    async def _send_animation(self, params: dict[str, Any]) -> Any:
        return self._receive_file(params, "animation", MAX_DOCUMENT_BYTES)

    async def _send_document(self, params: dict[str, Any]) -> Any:
        return self._receive_file(params, "document", MAX_DOCUMENT_BYTES)

    def _receive_file(self, params: dict[str, Any], kind: str, most: int) -> Any:
        name, media_type, content = params[kind]
        if not content:
            raise _Refused(400, "Bad Request: file must be non-empty")
        if len(content) > most:
            raise _Refused(413, "Request Entity Too Large")
        chat, number = self.chats[int(params["chat_id"])], next(self._messages)
        chat.files[number] = Received(kind, name, media_type, content)
        if "message_thread_id" in params:
            chat.topics[number] = int(params["message_thread_id"])
        return {"message_id": number, "date": 0, "chat": {"id": int(params["chat_id"])}}

    async def _send_chat_action(self, params: dict[str, Any]) -> Any:
        chat = self.chats[int(params["chat_id"])]
        chat.typing += 1
        chat.typing_topics.add(params.get("message_thread_id"))
        return True

    def _wake(self) -> None:
        self._changed.set()

    # --- for experiments --------------------------------------------------------------------

    async def _said(self, request: web.Request) -> web.Response:
        body = await request.json()
        return web.json_response({"update_id": await self.say(body["chat"], body["text"])})

    async def _shown(self, request: web.Request) -> web.Response:
        return web.json_response({str(chat): about.texts for chat, about in self.chats.items()})


class _Refused(Exception):
    def __init__(self, code: int, description: str) -> None:
        self.trouble = Trouble(code, description)


async def _read_params(request: web.Request) -> dict[str, Any]:
    """Return the parameters of a call: JSON, or a form in which a file is its name, type and content."""
    if request.content_type != "multipart/form-data":
        params: dict[str, Any] = await request.json()
        return params
    found: dict[str, Any] = {}
    async for part in await request.multipart():
        assert isinstance(part, aiohttp.BodyPartReader)
        assert part.name
        content = bytes(await part.read())
        is_file = part.filename is not None
        found[part.name] = (part.filename, part.headers["Content-Type"], content) if is_file else content.decode()
    return found


def _read(params: dict[str, Any]) -> str:
    """Return a message's text without its formatting, or refuse the message."""
    text = str(params["text"])
    if params.get("parse_mode") == "HTML":
        bare = _TAG.sub("", text)
        if "<" in bare or ">" in bare or re.search(r"&(?!lt;|gt;|amp;|quot;)", bare):
            raise _Refused(400, "Bad Request: can't parse entities: Unsupported start tag at byte offset 0")
        text = html.unescape(bare)
    if not text.strip():
        raise _Refused(400, "Bad Request: message text is empty")
    if len(text.encode("utf-16-le")) // 2 > 4096:
        raise _Refused(400, "Bad Request: message is too long")
    return text


def _keyboard(params: dict[str, Any]) -> dict[str, str]:
    """Return the buttons of a message, or refuse the message."""
    rows = params.get("reply_markup", {}).get("inline_keyboard", [])
    buttons = {button["text"]: button["callback_data"] for row in rows for button in row}
    if any(not 1 <= len(data.encode()) <= 64 for data in buttons.values()):
        raise _Refused(400, "Bad Request: BUTTON_DATA_INVALID")
    return buttons


def _refusal(trouble: Trouble) -> web.Response:
    body: dict[str, Any] = {"ok": False, "error_code": trouble.code, "description": trouble.description}
    hints = {"retry_after": trouble.retry_after, "migrate_to_chat_id": trouble.migrate_to}
    body["parameters"] = {name: value for name, value in hints.items() if value is not None}
    return web.json_response(body, status=trouble.code)


def _cut(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise asyncio.CancelledError


def _snake(method: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", method).lower()


@asynccontextmanager
async def serve_telegram(port: int = 0) -> AsyncIterator[Telegram]:
    """Serve on loopback while the block runs."""
    telegram = Telegram()
    runner = web.AppRunner(telegram.application(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        assert runner.addresses
        telegram.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield telegram
    finally:
        await runner.cleanup()


async def main() -> None:
    async with serve_telegram(int(sys.argv[1])) as telegram:
        print(json.dumps({"base_url": telegram.base_url, "token": BOT_TOKEN}))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
