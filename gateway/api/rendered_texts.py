"""Renders texts for answers: in a thread, one request at a time, and keeps what it has rendered last."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence

from gateway.api.markup import MAX_MARKUP_CHARACTERS, render_markup
from gateway.errors import Unavailable

#: bytes of memory for the HTML that is kept
MAX_KEPT_HTML_BYTES = 4 << 20
#: bytes of memory that each kept text takes in addition to its HTML: its digest, and its place in the dictionary
KEPT_TEXT_OVERHEAD_BYTES = 256
#: seconds of a processor after which the rest of an answer's texts stays as it is
MAX_ANSWER_CPU_SECONDS = 1.0
#: seconds that a request waits for those before it
MAX_RENDER_WAIT_SECONDS = 30.0


class RenderedTexts:
    """Renders Markdown, and keeps the HTML of the last texts.

    Parsing holds Python's lock, so a second thread would make nothing faster, and the rest of the gateway slower.
    """

    def __init__(self, max_kept: int = MAX_KEPT_HTML_BYTES) -> None:
        """Args: max_kept: bytes of memory for what is kept, as `measure_kept_text` counts them."""
        self._max_kept = max_kept
        self._kept: OrderedDict[bytes, str] = OrderedDict()
        self._size = 0
        self._rendering = asyncio.Lock()

    async def render_texts(self, texts: Sequence[str | None]) -> list[str | None]:
        """Return the HTML of each text. The first ones come first, if it is too much for one answer.

        None stands for a text that is None, and for one that is left out: all up to it are longer than
        `MAX_MARKUP_CHARACTERS`, or those before it took longer than `MAX_ANSWER_CPU_SECONDS`.

        Raises:
            Unavailable: too many others wait.
        """
        if all(text is None for text in texts):
            return [None] * len(texts)
        try:
            async with asyncio.timeout(MAX_RENDER_WAIT_SECONDS):
                await self._rendering.acquire()
        except TimeoutError:
            raise Unavailable("too many texts wait to be rendered.", remedy="Try again.") from None
        work = asyncio.ensure_future(asyncio.to_thread(self._render_some, texts))
        # A client that disconnects does not end the thread: the next one waits for it.
        work.add_done_callback(lambda _: self._rendering.release())
        return await asyncio.shield(work)

    def _render_some(self, texts: Sequence[str | None]) -> list[str | None]:
        room = MAX_MARKUP_CHARACTERS
        until = time.thread_time() + MAX_ANSWER_CPU_SECONDS
        made: list[str | None] = []
        for text in texts:
            room -= len(text or "")
            is_left_out = room < 0 or (any(made) and time.thread_time() >= until)
            made.append(None if text is None or is_left_out else self._render_text(text))
        return made

    def _render_text(self, text: str) -> str:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        found = self._kept.pop(digest, None)
        if found is None:
            found = render_markup(text)
            self._size += measure_kept_text(found)
        self._kept[digest] = found
        while self._size > self._max_kept:
            self._size -= measure_kept_text(self._kept.popitem(last=False)[1])
        return found


def measure_kept_text(html: str) -> int:
    """Return the bytes of memory that a kept text takes: of many short ones, the text is the smaller part."""
    return sys.getsizeof(html) + KEPT_TEXT_OVERHEAD_BYTES
