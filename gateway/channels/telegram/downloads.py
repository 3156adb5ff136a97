"""Fetches the files of messages from Telegram."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from gateway.channels.telegram.botapi import BotApi, CallRefused, TelegramUnreachable
from gateway.channels.telegram.incoming import SentFile
from gateway.domain.inbound import FileNotFetched, IncomingFile

#: how often the download of a file is begun, while Telegram answers all other calls
MAX_DOWNLOAD_TRIES = 8
#: files whose failed downloads are counted
MAX_COUNTED_FILES = 1000


class Downloads:
    """The downloads of one bot. A file that fails too often is left out, so that its chat is not blocked for ever."""

    def __init__(self, api: BotApi) -> None:
        self._api = api
        #: failed downloads, by the id of the file
        self._failures: OrderedDict[str, int] = OrderedDict()

    def make_incoming(self, file: SentFile) -> IncomingFile:
        """Return the file of a message as the engine takes it."""
        media = file.media
        return IncomingFile(
            name=file.name,
            media_type=media.mime_type,
            size=media.file_size,
            open_stream=partial(self._stream_file, media.file_id),
        )

    async def _stream_file(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Yield the content of a file.

        Raises:
            FileNotFetched: Telegram does not hand it out, or its download has failed too often.
            TelegramUnreachable, CallRefused: it may come later.
        """
        try:
            async with aclosing(self._api.stream_file(file_id)) as pieces:
                async for piece in pieces:
                    yield piece
        except (TelegramUnreachable, CallRefused) as error:
            if not isinstance(error, CallRefused) or error.code not in (400, 403, 404):
                if await self._is_its_own(error) and self._count_failure(file_id) >= MAX_DOWNLOAD_TRIES:
                    raise FileNotFetched(f"Telegram does not deliver it: {error}") from error
                raise
            if "too big" in error.description.lower():
                raise FileNotFetched("too large: Telegram gives bots only files of up to 20 MB") from error
            raise FileNotFetched(f"Telegram does not hand it out: {error.description}") from error
        self._failures.pop(file_id, None)

    async def _is_its_own(self, error: TelegramUnreachable | CallRefused) -> bool:
        """Return whether a failure is one of the file: Telegram does not ask to wait, and answers another call."""
        if isinstance(error, CallRefused) and error.retry_after is not None:
            return False
        try:
            await self._api.get_me()
        except (TelegramUnreachable, CallRefused):
            return False
        return True

    def _count_failure(self, file_id: str) -> int:
        failures = self._failures[file_id] = self._failures.get(file_id, 0) + 1
        if len(self._failures) > MAX_COUNTED_FILES:
            self._failures.popitem(last=False)
        return failures
