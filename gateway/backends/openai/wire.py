"""The wire format of chat completions: builds the messages of a request, and reads the streamed answer.

The format: https://platform.openai.com/docs/api-reference/chat-streaming, with the names that other
servers use for reasoning. Fields that we do not read are not checked.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from itertools import groupby
from typing import Any

import msgspec
from msgspec import Struct

from gateway import surrogates
from gateway.domain import event
from gateway.domain.session import Message
from gateway.errors import AgentError
from gateway.sse_reader import EventReader, OversizedEvent

#: bytes of one event of a stream
MAX_STREAM_LINE_BYTES = 1024 * 1024
#: characters of a server's message that are shown, at most
MAX_SHOWN_MESSAGE_CHARACTERS = 300

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class CachedTokens(Struct):
    cached_tokens: int | None = None


class Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: CachedTokens | None = None
    #: in US dollars; OpenRouter's
    cost: float | None = None

    def to_event(self) -> event.Usage:
        cached = self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens
        return event.Usage(
            input=self.prompt_tokens or 0,
            output=self.completion_tokens or 0,
            cached=cached or 0,
            cost=self.cost or 0.0,
        )


class Delta(Struct):
    content: str | None = None
    #: the text in place of an answer that the model refuses to give
    refusal: str | None = None
    reasoning_content: str | None = None
    #: the name of `reasoning_content` at Ollama, OpenRouter and newer vLLM
    reasoning: str | None = None
    tool_calls: list[Any] | None = None


class Choice(Struct):
    delta: Delta | None = None
    finish_reason: str | None = None


class Chunk(Struct):
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None


_chunk = msgspec.json.Decoder(Chunk)


def decode_chunk(data: bytes) -> Chunk:
    """Read one piece of a stream.

    Raises:
        AgentError: it does not fit the protocol.
    """
    try:
        return _chunk.decode(surrogates.replace_lone_surrogates(data))
    except DECODE_ERRORS as error:
        raise AgentError(f"the model's server sent something that cannot be read: {error}.") from None


async def read_event_data(pieces: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the data of server-sent events. Some servers leave out the empty line that ends an event.

    Raises:
        AgentError: an event is larger than `MAX_STREAM_LINE_BYTES`.
    """
    reader = EventReader(MAX_STREAM_LINE_BYTES, one_line_events=True)
    async for piece in pieces:
        for found in reader.feed(piece):
            if isinstance(found, OversizedEvent):
                raise AgentError(f"the model's server sent an event of more than {MAX_STREAM_LINE_BYTES // 1024} KiB.")
            yield found.data.strip()
    if (last := reader.finish()) is not None:
        yield last.data.strip()


def read_error(body: bytes) -> str:
    """Return the message in the body of an error."""
    try:
        return _find_message(msgspec.json.decode(body))
    except DECODE_ERRORS:
        # An HTML page of a proxy: keep the text between the tags.
        return re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", body.decode("utf-8", "replace"), flags=re.DOTALL)


def shorten_line(text: str) -> str:
    """Return a text as one line of printable characters, cut if it is too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_SHOWN_MESSAGE_CHARACTERS else line[: MAX_SHOWN_MESSAGE_CHARACTERS - 1] + "…"


def _find_message(value: Any) -> str:
    """Find the message in an error; servers put it in different places."""
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(name):
            return _find_message(value[name])
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def estimate_message_tokens(text: str) -> int:
    """Estimate the tokens of a message: one for four characters, and four for its frame."""
    return len(text) // 4 + 4


def build_messages(system: str | None, history: Sequence[Message], given: str, budget: int) -> list[dict[str, str]]:
    """Return the messages to send: the last turns that fit into the budget of tokens.

    The system prompt and the current input are always sent. Turns are dropped whole, the oldest
    first. Adjacent messages of one role are joined, because a failed turn has no answer, and many
    models need alternating roles.
    """
    left = budget - estimate_message_tokens(system or "") - estimate_message_tokens(given)
    kept: list[tuple[str, str]] = []
    for _, turn in groupby(reversed(history), key=lambda message: message.run):
        said = [(message.role.value, message.content) for message in turn if message.content]
        left -= sum(estimate_message_tokens(content) for _, content in said)
        if left < 0:
            break
        kept += said
    talk = [*reversed(kept), ("user", given)]
    joined = [
        {"role": role, "content": "\n\n".join(content for _, content in group)}
        for role, group in groupby(talk, key=lambda message: message[0])
    ]
    return [{"role": "system", "content": system}, *joined] if system else joined
