"""Calls of Telegram's Bot API, one method each: https://core.telegram.org/bots/api#making-requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import aiohttp
import msgspec
from msgspec import Raw

from gateway.channels.telegram.wire import Me, Params, Response, Sent

T = TypeVar("T")

#: seconds that a call may take, at most
CALL = 15.0
#: kinds of updates that we ask for
UPDATES = ["message", "callback_query"]
#: characters of the answer to a pressed button, at most
TOAST = 200
#: bytes of a response, at most
LARGEST = 8 << 20
#: seconds that we wait when Telegram asks for it; a call that would have to wait longer fails
LONGEST_WAIT = 30

_response = msgspec.json.Decoder(Response).decode


class Refused(Exception):
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
    def for_good(self) -> bool:
        """Whether another try would fail too: the chat is gone, or has blocked the bot."""
        return self.code in (400, 403)


class Unreachable(Exception):
    """Telegram did not answer: its servers or the network failed."""


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call; if Telegram asks for a short wait, wait once and try again."""
    try:
        return await call()
    except Refused as error:
        if error.retry_after is None or error.retry_after > LONGEST_WAIT:
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

    def __init__(self, base_url: str, token: str) -> None:
        self._url = f"{base_url.rstrip('/')}/bot{token}/"
        self._token = token

    async def __aenter__(self) -> BotApi:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=20), auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    async def me(self) -> Me:
        return msgspec.json.decode(await self.call("getMe", {}), type=Me)

    async def updates(self, offset: int, seconds: int) -> list[Raw]:
        """Return the updates from number `offset` on; wait up to `seconds` for the first."""
        params = {"offset": offset, "timeout": seconds, "limit": 50, "allowed_updates": UPDATES}
        return msgspec.json.decode(await self.call("getUpdates", params, seconds + CALL), type=list[Raw])

    async def send(self, chat: str, text: str, *, html: str | None = None, buttons: Sequence[Button] = ()) -> int:
        """Send a message and return its number. If Telegram refuses the formatted text, send the plain text."""
        try:
            result = await self.call("sendMessage", _message(chat, text, html, buttons))
        except Refused as error:
            if html is None or error.code != 400 or "entit" not in error.description.lower():
                raise
            result = await self.call("sendMessage", _message(chat, text, None))
        return msgspec.json.decode(result, type=Sent).message_id

    async def edit(
        self, chat: str, message: int, text: str, *, html: str | None = None, buttons: Sequence[Button] = ()
    ) -> None:
        """Replace the text and the buttons of a message. No change is no error."""
        params = {**_message(chat, text, html, buttons), "message_id": message}
        try:
            await self.call("editMessageText", params)
        except Refused as error:
            said = error.description.lower()
            if "not modified" in said:
                return
            if html is None or error.code != 400 or "entit" not in said:
                raise
            await self.edit(chat, message, text)

    async def typing(self, chat: str) -> None:
        await self.call("sendChatAction", {"chat_id": chat, "action": "typing"})

    async def heard(self, query: str, said: str) -> None:
        """Show a short answer to the person who has pressed a button."""
        await self.call("answerCallbackQuery", {"callback_query_id": query, "text": said[:TOAST]})

    async def set_webhook(self, url: str, secret: str) -> None:
        params = {"url": url, "secret_token": secret, "allowed_updates": UPDATES}
        await self.call("setWebhook", params)

    async def delete_webhook(self) -> None:
        await self.call("deleteWebhook", {})

    async def call(self, method: str, params: Params, seconds: float = CALL) -> Raw:
        """Make one call and return its result.

        Raises:
            Refused: Telegram refused it.
            Unreachable: no valid response came in time.
        """
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.post(self._url + method, json=params, allow_redirects=False) as answer,
            ):
                data = await answer.content.read(LARGEST)
                while not answer.content.at_eof():
                    if len(data) >= LARGEST:
                        raise Unreachable(f"its answer is larger than {LARGEST} bytes")
                    data += await answer.content.read(LARGEST)
        except TimeoutError:
            raise Unreachable(f"no answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(self._hidden(error)) from None
        return self._understood(answer.status, data)

    def _understood(self, status: int, data: bytes) -> Raw:
        try:
            said = _response(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Unreachable(f"the response with status {status} is not from the Bot API") from None
        if said.ok:
            return said.result
        if said.error_code >= 500:
            raise Unreachable(f"{said.description} ({said.error_code})")
        hint = said.parameters
        raise Refused(said.error_code, said.description, retry_after=hint.retry_after, new_chat=hint.migrate_to_chat_id)

    def _hidden(self, error: Exception) -> str:
        """Return the error's text without the token, which is part of every URL."""
        return (str(error) or type(error).__name__).replace(self._token, "***")


def _message(chat: str, text: str, html: str | None, buttons: Sequence[Button] = ()) -> dict[str, Any]:
    params: dict[str, Any] = {"chat_id": chat, "text": text, "link_preview_options": {"is_disabled": True}}
    if buttons:
        row = [{"text": button.label, "callback_data": button.data} for button in buttons]
        params["reply_markup"] = {"inline_keyboard": [row]}
    return params if html is None else {**params, "text": html, "parse_mode": "HTML"}
