"""JSON that holds files: it is split where their contents go, which are read while it is sent."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SplitJson(Generic[T]):
    """A JSON value with objects in it that stand for long texts."""

    def __init__(self, value: Any, kind: type[T]) -> None:
        """Args: kind: the type of the objects."""
        #: the objects, in the order of their texts
        self.texts: list[T] = []
        mark = secrets.token_hex(16)

        def note_text(found: Any) -> str:
            if not isinstance(found, kind):
                raise TypeError(f"{type(found).__name__} is no JSON value")
            self.texts.append(found)
            return mark

        # `json` escapes half a character, which msgspec refuses
        self._first, *self._rest = json.dumps(value, default=note_text).encode().split(mark.encode())
        #: the bytes around the texts
        self.frame_bytes = len(self._first) + sum(map(len, self._rest))

    async def stream(self, read_text: Callable[[T], AsyncIterable[bytes]]) -> AsyncGenerator[bytes, None]:
        """Yield the JSON in pieces.

        Args:
            read_text: yields the text of an object in pieces, in ASCII without quotes.
        """
        yield self._first
        for text, after in zip(self.texts, self._rest, strict=True):
            async for piece in read_text(text):
                yield piece
            yield after
