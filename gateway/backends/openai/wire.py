"""The wire format of chat completions: reads events and errors.

The format: https://platform.openai.com/docs/api-reference/chat-streaming.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import msgspec

from gateway.domain.file import describe_size
from gateway.errors import AgentError
from gateway.json_data import surrogates
from gateway.sse_reader import EventReader, OversizedEvent, ServerSentEvent

#: bytes of one event of a stream
MAX_STREAM_LINE_BYTES = 1024 * 1024
#: bytes of one that holds a picture: one of 25 MB in base64, and what frames it
MAX_PICTURE_EVENT_BYTES = 34_000_000
#: the fields in which servers return pictures
PICTURE_MARK = re.compile(rb'"(images|image_url|b64_json)"')
#: characters of a server's message that are shown, at most
MAX_SHOWN_MESSAGE_CHARACTERS = 300

#: type of the events that stand for lines outside the format
UNKNOWN_LINE_TYPE = "unknown"
#: what `decode_json` and msgspec raise for text that is not JSON
DECODE_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)


def decode_json(data: bytes) -> Any:
    """Return a JSON value. Halves of characters, NaN and numbers of any size are read, because they may stand beside
    what matters.

    Raises:
        DECODE_ERRORS: it is not JSON, or nested too deep.
    """
    return json.loads(surrogates.replace_lone_surrogates(data).decode(), parse_int=_parse_integer)


def _parse_integer(digits: str) -> float:
    return int(digits) if len(digits) < 20 else float(digits)


async def read_stream_events(pieces: AsyncIterable[bytes]) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield server-sent events. Some servers leave out the empty line that ends an event.

    A line outside the format is an event, too: when they fail, llama.cpp sends `error: {…}`, and Ollama bare JSON.

    Raises:
        AgentError: an event is larger than `MAX_STREAM_LINE_BYTES`, or than `MAX_PICTURE_EVENT_BYTES` with a picture.
    """
    reader = EventReader(
        MAX_STREAM_LINE_BYTES,
        one_line_events=True,
        unknown_lines_type=UNKNOWN_LINE_TYPE,
        large_mark=PICTURE_MARK,
        max_marked_bytes=MAX_PICTURE_EVENT_BYTES,
    )
    async for piece in pieces:
        for found in reader.feed(piece):
            if isinstance(found, OversizedEvent):
                large = (
                    f"{MAX_STREAM_LINE_BYTES // 1024} KiB, or {describe_size(MAX_PICTURE_EVENT_BYTES)} with a picture"
                )
                raise AgentError(f"the model's server sent an event of more than {large}.")
            yield found
    if (last := reader.finish()) is not None:
        yield last


def read_error(body: bytes) -> str:
    """Return the message in the body of an error."""
    try:
        return find_message(decode_json(body))
    except DECODE_ERRORS:
        # An HTML page of a proxy: keep the text between the tags.
        return re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", body.decode("utf-8", "replace"), flags=re.DOTALL)


def shorten_line(text: str) -> str:
    """Return a text as one line of printable characters, cut if it is too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_SHOWN_MESSAGE_CHARACTERS else line[: MAX_SHOWN_MESSAGE_CHARACTERS - 1] + "…"


def find_message(value: Any) -> str:
    """Find the message in an error; servers put it in different places."""
    if isinstance(value, list) and value:
        return find_message(value[0])
    for name in ("error", "errors", "error_message", "message", "detail", "msg", "status_msg", "base_resp"):
        if isinstance(value, dict) and isinstance(found := value.get(name), str | dict | list) and found:
            return find_message(found)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
