"""Calls of Telegram's Bot API, one method each: https://core.telegram.org/bots/api#making-requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Raw

from gateway.channels.telegram.outgoing import FileMethod
from gateway.channels.telegram.wire import (
    BotUser,
    CallParams,
    Response,
    SentMessage,
    StoredFile,
    parse_address,
)
from gateway.domain.delivery import MIN_CHAT_UPLOAD_BYTES_PER_SECOND
from gateway.domain.file import File
from gateway.security import redaction, trusted_certificates

T = TypeVar("T")

#: seconds that a call may take, at most
BOT_CALL_TIMEOUT_SECONDS = 15.0
#: kinds of updates that we ask for
ALLOWED_UPDATES = ["message", "edited_message", "callback_query"]
#: characters of the answer to a pressed button, at most
MAX_BUTTON_ANSWER_CHARACTERS = 200
#: bytes of a response, at most
MAX_RESPONSE_BYTES = 8 << 20
#: bytes of a file that are read at once
DOWNLOAD_PIECE_BYTES = 256 * 1024
#: seconds without a byte of a file after which its download fails, and seconds that it may take in all
DOWNLOAD_IDLE_SECONDS, DOWNLOAD_TIMEOUT_SECONDS = 30.0, 900.0
#: seconds that we wait when Telegram asks for it; a call that would have to wait longer fails
MAX_FLOOD_WAIT_SECONDS = 30

#: words of refusals that no other text would change
_ABOUT_CHAT = ("chat not found", "chat_", "upgraded", "message to edit", "message can't be edited", "not enough rights")
#: `asyncio.timeout` limits a call
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_decode_response = msgspec.json.Decoder(Response).decode


class CallRefused(Exception):
    """Telegram refused a call."""

    def __init__(self, code: int, description: str, *, retry_after: int | None = None, new_chat: int | None = None):
        super().__init__(f"Telegram refused it: {description} ({code})")
        self.code = code
        self.description = description
        #: seconds after which it may be tried again
        self.retry_after = retry_after
        #: id of the supergroup that the group has become
        self.new_chat = new_chat

    @property
    def is_permanent(self) -> bool:
        """Whether another try would fail too: the chat is gone, or has blocked the bot."""
        return self.code in (400, 403)

    @property
    def is_missing_topic(self) -> bool:
        """Whether the topic of a forum is gone; its chat may still be there."""
        return self.code == 400 and "thread not found" in self.description.lower()

    @property
    def is_about_file(self) -> bool:
        """Whether the file may be the reason. If it is the chat, a message that says so is refused, too."""
        return self.code in (400, 413) and self.new_chat is None

    @property
    def is_about_text(self) -> bool:
        """Whether another text may be accepted: it is not about the chat."""
        said = self.description.lower()
        return self.code == 400 and self.new_chat is None and not any(word in said for word in _ABOUT_CHAT)


class TelegramUnreachable(Exception):
    """Telegram did not answer: its servers or the network failed."""


async def call_with_wait(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call; if Telegram asks for a short wait, wait once and try again."""
    try:
        return await call()
    except CallRefused as error:
        if error.retry_after is None or error.retry_after > MAX_FLOOD_WAIT_SECONDS:
            raise
        await asyncio.sleep(error.retry_after)
        return await call()


class Button(NamedTuple):
    """A button under a message."""

    label: str
    #: what Telegram sends when it is pressed: 64 bytes at most
    data: str


class BotApi:
    """One bot's calls. Open as an async context manager."""

    def __init__(self, base_url: str, token: str, proxy: str | None = None) -> None:
        self._url = f"{base_url.rstrip('/')}/bot{token}/"
        self._files_url = f"{base_url.rstrip('/')}/file/bot{token}/"
        self._token = token
        self._proxy = proxy

    async def __aenter__(self) -> BotApi:
        await trusted_certificates.prepare_connection(self._url)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=20), auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    async def get_me(self) -> BotUser:
        return msgspec.json.decode(await self.call_method("getMe", {}), type=BotUser)

    async def get_updates(self, offset: int, seconds: int) -> list[Raw]:
        """Return the updates from number `offset` on; wait up to `seconds` for the first."""
        params = {"offset": offset, "timeout": seconds, "limit": 50, "allowed_updates": ALLOWED_UPDATES}
        return msgspec.json.decode(
            await self.call_method("getUpdates", params, seconds + BOT_CALL_TIMEOUT_SECONDS), type=list[Raw]
        )

    async def send_message(
        self, chat: str, text: str, *, html: str | None = None, buttons: Sequence[Sequence[Button]] = ()
    ) -> int:
        """Send a message and return its number. If Telegram refuses the formatted text, send the plain text.

        A message for a topic that is gone is sent to the chat. The buttons below it are in rows.
        """
        try:
            result = await self.call_method("sendMessage", _message_params(chat, text, html, buttons))
        except CallRefused as error:
            if error.is_missing_topic:
                return await self.send_message(parse_address(chat).chat, text, html=html, buttons=buttons)
            if html is None or not error.is_about_text:
                raise
            result = await self.call_method("sendMessage", _message_params(chat, text, None, buttons))
        return msgspec.json.decode(result, type=SentMessage).message_id

    async def edit_message(
        self, chat: str, message: int, text: str, *, html: str | None = None, buttons: Sequence[Sequence[Button]] = ()
    ) -> None:
        """Replace the text and the buttons of a message. No change is no error."""
        params = {**_message_params(parse_address(chat).chat, text, html, buttons), "message_id": message}
        try:
            await self.call_method("editMessageText", params)
        except CallRefused as error:
            if "not modified" in error.description.lower():
                return
            if html is None or not error.is_about_text:
                raise
            await self.edit_message(chat, message, text, buttons=buttons)

    async def send_file(self, chat: str, method: FileMethod, file: File, content: Path) -> None:
        """Upload a file into a chat, while it is read. A file for a topic that is gone is sent to the chat.

        Raises:
            OSError: it cannot be read.
        """
        form = aiohttp.FormData(quote_fields=False)  # Telegram reads names in UTF-8, and no escapes
        for name, value in _chat_params(chat).items():
            form.add_field(name, str(value))
        seconds = BOT_CALL_TIMEOUT_SECONDS + file.size / MIN_CHAT_UPLOAD_BYTES_PER_SECOND
        with await asyncio.to_thread(content.open, "rb") as stream:
            form.add_field(method.value, stream, filename=file.name, content_type=file.media_type)
            try:
                await self._post(method.wire_name, seconds, data=form)
                return
            except CallRefused as error:
                if not error.is_missing_topic or parse_address(chat).topic is None:
                    raise
        await self.send_file(parse_address(chat).chat, method, file, content)

    async def send_typing(self, chat: str) -> None:
        await self.call_method("sendChatAction", {**_chat_params(chat), "action": "typing"})

    async def answer_button(self, query: str, said: str) -> None:
        """Show a short answer to the person who has pressed a button."""
        await self.call_method(
            "answerCallbackQuery", {"callback_query_id": query, "text": said[:MAX_BUTTON_ANSWER_CHARACTERS]}
        )

    async def stream_file(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Yield the content of a file that somebody has sent: https://core.telegram.org/bots/api#getfile.

        Raises:
            CallRefused: Telegram does not hand it out, for example because it is too large.
            TelegramUnreachable: it did not come in time, or not whole.
        """
        result = await call_with_wait(partial(self.call_method, "getFile", {"file_id": file_id}))
        try:
            url = self._files_url + quote(msgspec.json.decode(result, type=StoredFile).file_path)
        except msgspec.MsgspecError:
            raise TelegramUnreachable("the answer to getFile does not say where the file is") from None
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=BOT_CALL_TIMEOUT_SECONDS, sock_read=DOWNLOAD_IDLE_SECONDS
        )
        deadline = time.monotonic() + DOWNLOAD_TIMEOUT_SECONDS
        try:
            async with self._session.get(url, allow_redirects=False, proxy=self._proxy, timeout=timeout) as answer:
                if answer.status >= 500:
                    raise TelegramUnreachable(f"the file's download failed ({answer.status})")
                if answer.status != 200:
                    raise CallRefused(answer.status, "the file cannot be downloaded")
                while data := await answer.content.read(DOWNLOAD_PIECE_BYTES):
                    if time.monotonic() > deadline:
                        raise TelegramUnreachable(f"the file did not come within {DOWNLOAD_TIMEOUT_SECONDS:g} s")
                    yield data
        except TimeoutError:
            raise TelegramUnreachable(f"no byte of the file came within {DOWNLOAD_IDLE_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise TelegramUnreachable(self._hide_token(error)) from None

    async def set_webhook(self, url: str, secret: str) -> None:
        params = {"url": url, "secret_token": secret, "allowed_updates": ALLOWED_UPDATES}
        await self.call_method("setWebhook", params)

    async def delete_webhook(self) -> None:
        await self.call_method("deleteWebhook", {})

    async def call_method(self, method: str, params: CallParams, seconds: float = BOT_CALL_TIMEOUT_SECONDS) -> Raw:
        """Make one call and return its result.

        Raises:
            Refused: Telegram refused it.
            Unreachable: no valid response came in time.
        """
        return await self._post(method, seconds, json=params)

    async def _post(self, method: str, seconds: float, **body: Any) -> Raw:
        post = partial(self._session.post, allow_redirects=False, proxy=self._proxy, timeout=_NO_TIMEOUT)
        try:
            async with asyncio.timeout(seconds), post(self._url + method, **body) as answer:
                data = await answer.content.read(MAX_RESPONSE_BYTES)
                while not answer.content.at_eof():
                    if len(data) >= MAX_RESPONSE_BYTES:
                        raise TelegramUnreachable(f"its answer is larger than {MAX_RESPONSE_BYTES} bytes")
                    data += await answer.content.read(MAX_RESPONSE_BYTES)
        except TimeoutError:
            raise TelegramUnreachable(f"no answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise TelegramUnreachable(self._hide_token(error)) from None
        return self._read_result(answer.status, data)

    def _read_result(self, status: int, data: bytes) -> Raw:
        try:
            said = _decode_response(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise TelegramUnreachable(f"the response with status {status} is not from the Bot API") from None
        if said.ok:
            return said.result
        if said.error_code >= 500:
            raise TelegramUnreachable(f"{said.description} ({said.error_code})")
        hint = said.parameters
        raise CallRefused(
            said.error_code, said.description, retry_after=hint.retry_after, new_chat=hint.migrate_to_chat_id
        )

    def _hide_token(self, error: Exception) -> str:
        """Return the error's text without the token, which is part of every URL."""
        return redaction.hide_secret(str(error) or type(error).__name__, self._token)


def _chat_params(chat: str) -> dict[str, Any]:
    address = parse_address(chat)
    topic = {} if address.topic is None else {"message_thread_id": address.topic}
    return {"chat_id": address.chat, **topic}


def _message_params(chat: str, text: str, html: str | None, buttons: Sequence[Sequence[Button]] = ()) -> dict[str, Any]:
    params = {**_chat_params(chat), "text": text, "link_preview_options": {"is_disabled": True}}
    if buttons:
        keyboard = [[{"text": button.label, "callback_data": button.data} for button in row] for row in buttons]
        params["reply_markup"] = {"inline_keyboard": keyboard}
    return params if html is None else {**params, "text": html, "parse_mode": "HTML"}
