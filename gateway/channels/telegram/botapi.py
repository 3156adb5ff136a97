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

#: seconds that a call may take
CALL = 15.0
#: what is heard of
UPDATES = ["message", "callback_query"]
#: characters that who presses a button may be told
TOAST = 200
#: bytes of an answer
LARGEST = 8 << 20
#: seconds that Telegram can make one call wait before it is tried again; beyond that it has failed
LONGEST_WAIT = 30

_response = msgspec.json.Decoder(Response).decode


class Refused(Exception):
    """Telegram refused a call."""

    def __init__(self, code: int, description: str, *, retry_after: int | None = None, moved: int | None = None):
        super().__init__(f"Telegram refused it: {description} ({code})")
        self.code = code
        self.description = description
        #: seconds after which it may be tried again
        self.retry_after = retry_after
        #: id of the chat that a group has become
        self.moved = moved

    @property
    def for_good(self) -> bool:
        """Whether trying again is in vain: the chat is gone, or has blocked the bot."""
        return self.code in (400, 403)


class Unreachable(Exception):
    """Telegram could not be asked: the network, or its servers."""


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call; wait once for as long as Telegram asks, if that is not too long."""
    try:
        return await call()
    except Refused as error:
        if error.retry_after is None or error.retry_after > LONGEST_WAIT:
            raise
        await asyncio.sleep(error.retry_after)
        return await call()


class Button(NamedTuple):
    """A button below a message."""

    label: str
    #: what comes when it is pressed: 64 bytes at the most
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
        """Return what happened from number `offset` on, waiting up to so many seconds for something."""
        params = {"offset": offset, "timeout": seconds, "limit": 50, "allowed_updates": UPDATES}
        return msgspec.json.decode(await self.call("getUpdates", params, seconds + CALL), type=list[Raw])

    async def send(self, chat: str, text: str, *, html: str | None = None, buttons: Sequence[Button] = ()) -> int:
        """Send a message; returns its number. Where the formatted one is refused, the plain one is sent."""
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
        """Change a message that was sent; it has these buttons then. That it says so already is no error."""
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
        """Tell who has pressed a button what came of it."""
        await self.call("answerCallbackQuery", {"callback_query_id": query, "text": said[:TOAST]})

    async def set_webhook(self, url: str, secret: str) -> None:
        params = {"url": url, "secret_token": secret, "allowed_updates": UPDATES}
        await self.call("setWebhook", params)

    async def delete_webhook(self) -> None:
        await self.call("deleteWebhook", {})

    async def call(self, method: str, params: Params, seconds: float = CALL) -> Raw:
        """Make one call; returns its result.

        Raises:
            Refused: Telegram said no.
            Unreachable: it said nothing that can be understood, within the time.
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
            raise Unreachable(f"an answer that is not the Bot API's, with status {status}") from None
        if said.ok:
            return said.result
        if said.error_code >= 500:
            raise Unreachable(f"{said.description} ({said.error_code})")
        hint = said.parameters
        raise Refused(said.error_code, said.description, retry_after=hint.retry_after, moved=hint.migrate_to_chat_id)

    def _hidden(self, error: Exception) -> str:
        """Say what went wrong without the token, which is in every URL."""
        return (str(error) or type(error).__name__).replace(self._token, "***")


def _message(chat: str, text: str, html: str | None, buttons: Sequence[Button] = ()) -> dict[str, Any]:
    params: dict[str, Any] = {"chat_id": chat, "text": text, "link_preview_options": {"is_disabled": True}}
    if buttons:
        row = [{"text": button.label, "callback_data": button.data} for button in buttons]
        params["reply_markup"] = {"inline_keyboard": [row]}
    return params if html is None else {**params, "text": html, "parse_mode": "HTML"}
