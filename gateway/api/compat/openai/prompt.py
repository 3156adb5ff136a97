"""Makes the prompt for an agent from the messages of an OpenAI client.

A client sends the whole conversation each time. Only its last message is new, so only that one is judged: what
cannot be handed to the agent of the earlier ones becomes a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.api.compat.openai.parts import FILE_NOUNS, PICTURE_ITEM, is_file_part
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
    **FILE_NOUNS,
    PICTURE_ITEM: "picture",
    "function_call": "tool call",
    "function_call_output": "result of a tool call",
}
#: characters of a client's words that a note repeats
_MAX_NOTE_CHARACTERS = 64


class Place(NamedTuple):
    """Where a part is in a request."""

    #: number of the message
    message: int
    #: number of the part in it
    part: int = 0


#: what an agent is told of parts that are files, in their place
Notes = Mapping[Place, str]


class Numbered(NamedTuple):
    """A message, and its number in the request."""

    number: int
    message: Said


class Conversation(NamedTuple):
    """The messages of a request, by what they are to the agent."""

    #: instructions
    told: Sequence[Numbered]
    #: earlier messages; none if the agent remembers them
    before: Sequence[Numbered]
    #: what the user has said since the last answer; the last one is the newest
    asked: Sequence[Numbered]


def split_conversation(messages: Sequence[Said], *, field: str, remembers: bool) -> Conversation:
    """Return the messages by what they are to the agent. The newest has only parts that are texts and files.

    Args:
        field: the field of the request that the messages come from, for errors.
        remembers: whether the agent knows the messages up to its last answer.

    Raises:
        InvalidRequest: the last message is not the user's, is empty, or has parts that are neither.
    """
    told: list[Numbered] = []
    talk: list[Numbered] = []
    for one in map(Numbered, range(len(messages)), messages):
        if one.message.role in INSTRUCTION_ROLES:
            told.append(one)
        elif one.message.role is not None or not remembers:
            talk.append(one)
    if not talk or talk[-1].message.role not in USER_ROLES:
        raise _no_user_message(field)
    _check_newest(talk[-1], field)
    first = len(talk) - 1
    while first and talk[first - 1].message.role in USER_ROLES:
        first -= 1
    return Conversation(told, [] if remembers else talk[:first], talk[first:])


def build_prompt(talk: Conversation, notes: Notes, *, field: str, instructions: str, max_bytes: int) -> str:
    """Return the prompt for an agent: instructions, earlier messages, and what the user asks.

    Args:
        notes: what to tell of files.
        field: the field of the request that the messages come from, for errors.
        instructions: come before those in the messages; may be empty.
        max_bytes: the most bytes that a prompt may have.

    Raises:
        TooLarge: the prompt is too long.
    """
    told = [describe_message(one, notes) for one in talk.told]
    *earlier, newest = talk.asked
    asked = [*(describe_message(one, notes) for one in earlier), _read_newest(newest, notes)]
    prompt = "\n\n".join(filter(None, [instructions, *told, *_describe_conversation(talk.before, notes), *asked]))
    if len(prompt.encode()) > max_bytes:
        raise TooLarge(
            f"{field}: the text for the agent is longer than {max_bytes} bytes.",
            remedy="Name a session (header X-Session), so that only the last message is handed on, or raise"
            " limits.body.",
        )
    return prompt


def _check_newest(newest: Numbered, field: str) -> None:
    where = f"{field}[{newest.number}].content"
    content = newest.message.content
    if content is not None and not isinstance(content, str | list):
        raise InvalidRequest(f"{where}: send a text, or a list of parts.", details={"param": where})
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if not (is_file_part(part) or (kind in TEXT_TYPES and isinstance(part.get("text"), str))):
            what = f"{str(kind)[:_MAX_NOTE_CHARACTERS]!r} cannot be handed to an agent, only texts, pictures and files."
            raise InvalidRequest(f"{where}: {what}", details={"param": where})
    if not content or (isinstance(content, list) and not any(is_file_part(part) or part["text"] for part in content)):
        raise _no_user_message(field)


def _read_newest(newest: Numbered, notes: Notes) -> str:
    """Return the newest message's text.

    It has the notes of files that lie between texts: what the others belong to is plain. One without a text has them
    all.
    """
    content = newest.message.content
    if isinstance(content, str):
        return content
    said = [
        (is_file_part(part), notes[Place(newest.number, number)] if is_file_part(part) else part["text"])
        for number, part in enumerate(content)
    ]
    texts = [number for number, (is_note, text) in enumerate(said) if text and not is_note]
    between = said[texts[0] : texts[-1] + 1] if texts else said
    return ("" if texts else "\n").join(text for _, text in between)


def describe_message(one: Numbered, notes: Notes) -> str:
    """Return what an agent is told of an earlier message: its text, and a note for each part that is not text."""
    number, message = one
    if message.role is None:
        return "" if message.type in _SILENT_TYPES else notes.get(Place(number)) or make_note(message.type)
    content = message.content
    parts = content if isinstance(content, list) else [content]
    text = "".join(notes.get(Place(number, at)) or _describe_part(part) for at, part in enumerate(parts))
    if text:
        return text
    if isinstance(message.refusal, str) and message.refusal:
        return message.refusal
    return make_note("function_call") if message.tool_calls or message.function_call else ""


def _describe_conversation(messages: Iterable[Numbered], notes: Notes) -> list[str]:
    said = [
        f"{(one.message.role or 'note').capitalize()}: {text}"
        for one in messages
        if (text := describe_message(one, notes))
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
    return make_note(part.get("type"))


def make_note(kind: Any, more: str = "") -> str:
    """Return a note for a part or an item of this type."""
    name = kind[:_MAX_NOTE_CHARACTERS] if isinstance(kind, str) else "something that is not text"
    return f"[{_NOTE_NAMES.get(name, name)}{f': {more}' if more else ''}]"


def _no_user_message(field: str) -> InvalidRequest:
    return InvalidRequest(
        f"{field}: the last message must be the user's, and have a text or a file.", details={"param": field}
    )
