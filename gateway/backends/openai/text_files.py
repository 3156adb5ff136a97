"""Puts the text of a file into a prompt: the whole, or its beginning and its end, where a log says what went wrong."""

from __future__ import annotations

import codecs
import re

from gateway.domain.file import File, describe_file, describe_size
from gateway.domain.transcript import estimate_tokens

#: bytes of a file that are looked at; of a larger one, so much of both ends together
MAX_READ_BYTES = 1_000_000
#: tokens below which a part of a text is not worth its place, and those of what frames it
MIN_TOKENS, FRAME_TOKENS = 200, 100
#: part of a shortened text that is its beginning
BEGINNING_SHARE = 0.25
#: kinds of media types that are no text, whatever their bytes are
_NO_TEXT = ("audio/", "video/", "font/", "application/pdf", "application/zip")
#: bytes that never begin a character
_CONTINUATIONS = bytes(range(0x80, 0xC0))


def may_be_text(file: File) -> bool:
    return file.size > 0 and not file.is_picture and not file.media_type.startswith(_NO_TEXT)


def tell_text(file: File, content: bytes, max_tokens: int) -> str | None:
    """Return a text for a prompt, with its name above it; None if it is no text in UTF-8, or there is no room.

    Args:
        max_tokens: estimated tokens that it may have. A longer text is shortened in its middle.
    """
    is_whole = len(content) <= MAX_READ_BYTES
    first = _decode_beginning(content if is_whole else content[: MAX_READ_BYTES // 2], is_whole=is_whole)
    last = first if is_whole else _decode_beginning(content[-MAX_READ_BYTES // 2 :].lstrip(_CONTINUATIONS))
    if first is None or last is None:
        return None
    if is_whole and estimate_tokens(told := _frame(file, first.rstrip())) <= max_tokens:
        return told
    if max_tokens < MIN_TOKENS:
        return None
    tokens_of_one = max(estimate_tokens(text) / len(text) for text in (first, last))
    room = int((max_tokens - FRAME_TOKENS) / tokens_of_one)
    beginning = first[: int(room * BEGINNING_SHARE)]
    end = last[len(beginning) - room :].rstrip()
    left_out = describe_size(len(content) - len(beginning.encode()) - len(end.encode()))
    return _frame(file, f"{beginning}\n[… {left_out} left out …]\n{end}")


def _decode_beginning(content: bytes, *, is_whole: bool = False) -> str | None:
    """Return bytes as text, or None if they are none. Only the end of a whole text must be that of a character."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(content, is_whole)
    except UnicodeDecodeError:
        return None
    return text if text and "\0" not in text else None


def _frame(file: File, text: str) -> str:
    """Return a text with the name of its file, in a fence that it cannot end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{describe_file(file)}:\n{fence}\n{text}\n{fence}"
