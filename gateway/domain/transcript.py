"""Chooses which turns of a transcript an agent is given: the last ones that fit, without those that it refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from gateway.domain.file import describe_file
from gateway.domain.session import Message, Role

#: estimated tokens that separate a message from the next one
MESSAGE_FRAME_TOKENS = 4
#: characters of one message in a recap
MAX_RECAP_MESSAGE_CHARACTERS = 6000
_SPEAKERS = {Role.USER: "User", Role.ASSISTANT: "Assistant"}


class Excerpt(NamedTuple):
    """The end of a transcript."""

    #: oldest first
    messages: Sequence[Message]
    #: estimated tokens of the messages
    tokens: int
    #: number of older turns that did not fit
    left_out: int


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text by what its characters take in UTF-8.

    Four ASCII characters are one token, two characters of two bytes (Cyrillic, Arabic), one character of three bytes
    (Chinese, Japanese, Korean, Hindi), and half a character of four bytes (emoji). No tokenizer is asked: each model
    has its own, and all of them are near this.
    """
    if text.isascii():
        return len(text) // 4
    size = len(text.encode("utf-8", "surrogatepass"))
    ascii_ = len(text.encode("ascii", "ignore"))
    four = len(text.encode("utf-16-le", "surrogatepass")) // 2 - len(text)
    other = len(text) - ascii_ - four  # of two or three bytes
    three = size - ascii_ - 4 * four - 2 * other
    return (ascii_ + 2 * (other - three)) // 4 + three + 2 * four


def estimate_message_tokens(text: str) -> int:
    """Estimate the tokens of a message with its frame."""
    return estimate_tokens(text) + MESSAGE_FRAME_TOKENS


def tell_message(message: Message) -> str:
    """Return a message as it is told to an agent that is not given its files: they are named below the text."""
    named = [f"[attached: {describe_file(file)}]" for file in message.files]
    return "\n".join(filter(None, [message.content, *named]))


def count_told_tokens(message: Message) -> int:
    """Estimate the tokens of a message as `tell_message` tells it."""
    return estimate_message_tokens(tell_message(message))


def select_last_turns(
    history: Sequence[Message], budget: int, count_tokens: Callable[[Message], int] = count_told_tokens
) -> Excerpt:
    """Return the last turns that fit into a budget of tokens.

    Turns are dropped whole, the oldest first. Prompts that the model refused are left out: sent again, they would
    be refused again, and every later prompt with them. So are messages with neither words nor files.

    Args:
        count_tokens: estimates the tokens of a message as the agent is given it.
    """
    usable = [message for message in history if (message.content or message.files) and not message.is_refused]
    turns = [list(turn) for _, turn in groupby(usable, key=lambda message: message.run)]
    first, tokens = len(turns), 0
    for number in range(len(turns) - 1, -1, -1):
        size = sum(map(count_tokens, turns[number]))
        if tokens + size > budget:
            break
        first, tokens = number, tokens + size
    return Excerpt([message for turn in turns[first:] for message in turn], tokens, first)


class Recap(NamedTuple):
    """A prompt that tells an agent a conversation which it has lost."""

    prompt: str
    #: number of turns that it tells, and of older ones that did not fit
    turns: int
    left_out: int


def write_recap(history: Sequence[Message], prompt: str, budget: int) -> Recap:
    """Return a prompt with the end of a transcript before it; the prompt alone if the transcript is empty.

    Args:
        budget: tokens that the transcript may have; its prompts and answers are shortened if they are very long.
    """
    short = [
        msgspec.structs.replace(message, content=_shorten_message(tell_message(message)), files=())
        for message in history
    ]
    told = select_last_turns(short, budget)
    if not told.messages:
        return Recap(prompt, 0, told.left_out)
    talk = "\n\n".join(f"{_SPEAKERS[message.role]}: {message.content}" for message in told.messages)
    part = "the end of it" if told.left_out else "its transcript"
    said = (
        f"You and the user have talked before, but you have lost that conversation. This is {part}:\n\n"
        f"<transcript>\n{talk}\n</transcript>\n\nContinue the conversation. The user says now:\n\n{prompt}"
    )
    return Recap(said, len({message.run for message in told.messages}), told.left_out)


def _shorten_message(text: str) -> str:
    if len(text) <= MAX_RECAP_MESSAGE_CHARACTERS:
        return text
    half = MAX_RECAP_MESSAGE_CHARACTERS // 2
    return f"{text[:half]} […] {text[-half:]}"
