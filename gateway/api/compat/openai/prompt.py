"""Makes the prompt for an agent from the messages of an OpenAI client.

A client sends the whole conversation each time. Only its last message is new, so only that one is judged: what
an agent cannot read of the earlier ones, such as pictures, becomes a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.api.compat.openai.wire import Said
from gateway.errors import InvalidRequest, TooLarge

#: roles of messages that are instructions, and of messages that the user wrote
INSTRUCTION_ROLES, USER_ROLES = frozenset({"system", "developer"}), frozenset({"user"})
#: types of parts that are text
TEXT_TYPES = frozenset({"text", "input_text", "output_text"})
#: items and parts that only mean something to the model that made them
_SILENT_TYPES = frozenset(
    {"reasoning", "reasoning_text", "thinking", "redacted_thinking", "item_reference", "compaction"}
)
#: what a note calls the parts and items that an agent cannot read; others are named by their type
_NOTE_NAMES = {
    "image_url": "picture",
    "input_image": "picture",
    "input_audio": "audio",
    "file": "file",
    "input_file": "file",
    "function_call": "tool call",
    "function_call_output": "result of a tool call",
}
#: characters of a client's words that a note repeats
_MAX_NOTE_CHARACTERS = 64


def build_prompt(messages: Sequence[Said], *, field: str, instructions: str, remembers: bool, max_bytes: int) -> str:
    """Return the prompt for an agent: instructions, earlier messages, and the last message.

    Args:
        field: the field of the request that the messages come from, for errors.
        instructions: come before those in the messages; may be empty.
        remembers: whether the agent knows the messages up to its last answer.
        max_bytes: the most bytes that a prompt may have.

    Raises:
        InvalidRequest: the last message is not the user's, or has parts that are not text.
        TooLarge: the prompt is too long.
    """
    told = [instructions] if instructions else []
    talk: list[tuple[int, Said]] = []
    for number, message in enumerate(messages):
        if message.role in INSTRUCTION_ROLES:
            told.append(describe_message(message))
        elif message.role is not None or not remembers:
            talk.append((number, message))
    if not talk or talk[-1][1].role not in USER_ROLES:
        raise _no_user_message(field)
    number, newest = talk[-1]
    asked = [read_text(newest, f"{field}[{number}].content")]
    if not asked[0]:
        raise _no_user_message(field)
    first = len(talk) - 1
    while first and talk[first - 1][1].role in USER_ROLES:
        first -= 1
        asked.append(describe_message(talk[first][1]))
    before = [] if remembers else _describe_conversation(message for _, message in talk[:first])
    prompt = "\n\n".join(filter(None, [*told, *before, *reversed(asked)]))
    if len(prompt.encode()) > max_bytes:
        raise TooLarge(
            f"{field}: the text for the agent is longer than {max_bytes} bytes.",
            remedy="Name a session (header X-Session), so that only the last message is handed on, or raise"
            " limits.body.",
        )
    return prompt


def read_text(message: Said, where: str) -> str:
    """Return a message's text.

    Args:
        where: the field of the request, for errors.

    Raises:
        InvalidRequest: it has parts that are not text.
    """
    content = message.content
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InvalidRequest(f"{where}: send a text, or a list of parts.", details={"param": where})
    text = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in TEXT_TYPES or not isinstance(part.get("text"), str):
            what = f"{str(kind)[:_MAX_NOTE_CHARACTERS]!r} cannot be handed to an agent, only text."
            raise InvalidRequest(f"{where}: {what}", details={"param": where})
        text.append(part["text"])
    return "".join(text)


def describe_message(message: Said) -> str:
    """Return what an agent is told of an earlier message: its text, and a note for each part that is not text."""
    if message.role is None:
        return "" if message.type in _SILENT_TYPES else _make_note(message.type)
    content = message.content
    parts = content if isinstance(content, list) else [content]
    text = "".join(_describe_part(part) for part in parts)
    if text:
        return text
    if isinstance(message.refusal, str) and message.refusal:
        return message.refusal
    return _make_note("function_call") if message.tool_calls or message.function_call else ""


def _describe_conversation(messages: Any) -> list[str]:
    said = [
        f"{(message.role or 'note').capitalize()}: {text}"
        for message in messages
        if (text := describe_message(message))
    ]
    if not said:
        return []
    return ["The conversation so far:", *said, "The user's next message, which is yours to answer:"]


def _describe_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") in _SILENT_TYPES:
        return ""
    for name in ("text", "refusal"):
        if isinstance(part.get(name), str):
            return str(part[name])
    return _make_note(part.get("type"))


def _make_note(kind: Any) -> str:
    name = kind[:_MAX_NOTE_CHARACTERS] if isinstance(kind, str) else "something that is not text"
    return f"[{_NOTE_NAMES.get(name, name)}]"


def _no_user_message(field: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: the last message must be the user's, and have a text.", details={"param": field})
