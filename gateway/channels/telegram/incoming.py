"""Reads what people write in Telegram: which chat it belongs to, and what the agent is told of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from gateway.channels.telegram.wire import Chat, Media, Message, Person, format_address

#: characters of a quoted message that the agent is told
MAX_QUOTED_CHARACTERS = 1000
#: characters of a person's name that the agent is told
MAX_NAME_CHARACTERS = 64

#: the kinds of files: what people call them, and the ending of one without a name. A message has one file; Telegram
#: repeats an animation as a document
_FILE_KINDS = {
    "animation": ("an animation", ".mp4"),
    "video": ("a video", ".mp4"),
    "video_note": ("a video message", ".mp4"),
    "audio": ("an audio file", ".mp3"),
    "voice": ("a voice message", ".ogg"),
    "sticker": ("a sticker", ".webp"),
    "document": ("a file", ""),
}

_COMMAND_PATTERN = re.compile(
    r"/(?P<verb>new|stop|status|allow|always|deny|start|help)(@(?P<bot>\w+))?(\s+(?P<word>\S+))?\s*"
)
_COMMAND_FOR_BOT_PATTERN = re.compile(r"/\w+@(\w+)\b")


class Command(NamedTuple):
    """A command for this bot."""

    verb: str
    #: what stands behind it; may be empty
    word: str

    @property
    def is_ordered(self) -> bool:
        """Whether it counts from where it was said; the others are obeyed at once."""
        return self.verb in ("new", "stop")


def parse_command(said: str) -> Command | None:
    """Return the command that a text is, or None."""
    found = _COMMAND_PATTERN.fullmatch(said)
    return None if found is None else Command(found["verb"], found["word"] or "")


class SentFile(NamedTuple):
    """The file of a message."""

    #: what people call it, such as `a photo`
    kind: str
    name: str
    media: Media


def find_file(message: Message) -> SentFile | None:
    """Return the file of a message, of a photo its largest size; None if it has none."""
    if message.photo:
        largest = max(message.photo, key=lambda one: one.width)
        return SentFile("a photo", f"photo_{message.message_id}.jpg", largest) if largest.file_id else None
    for field, (kind, ending) in _FILE_KINDS.items():
        media: Media | None = getattr(message, field)
        if media is not None and media.file_id:
            if field == "sticker":
                kind = f"{kind} {media.emoji}".rstrip()
                ending = ".tgs" if media.is_animated else ".webm" if media.is_video else ending
            return SentFile(kind, media.file_name or f"{field}_{message.message_id}{ending}", media)
    return None


def describe_files(files: Sequence[SentFile]) -> str:
    """Return what stands for the text of a message that has only files."""
    return f"({files[0].kind})" if len(files) == 1 else f"({len(files)} files)"


def read_address(message: Message) -> str:
    """Return the address of the chat that a message belongs to. A topic of a forum is a chat of its own."""
    return format_address(message.chat.id, message.message_thread_id if message.is_topic_message else None)


def is_from_person(message: Message) -> bool:
    """Return whether a person wrote a message: not a bot, and no channel.

    An anonymous administrator writes in the name of the group itself, through a bot of Telegram.
    """
    if message.sender_chat is not None:
        return message.sender_chat.id == message.chat.id
    return not message.sender.is_bot


def is_for_other_bot(said: str, username: str | None) -> bool:
    """Return whether a text is a command for another bot, such as `/weather@other_bot`."""
    named = _COMMAND_FOR_BOT_PATTERN.match(said)
    return bool(named and username and named[1].lower() != username.lower())


def is_addressed_to_bot(message: Message, username: str | None) -> bool:
    """Return whether a message without text is meant for this bot: in a private chat, or as a reply to the bot."""
    replied = message.reply_to_message
    return not message.chat.is_group or bool(replied and username and replied.sender.username == username)


def compose_input(message: Message, said: str, username: str | None) -> str:
    """Return what the agent is told: who speaks, in a group, and what the message answers, if it is a reply."""
    text = f"{_name_author(message)}: {said}" if message.chat.is_group else said
    quoted = _describe_reply(message, username)
    return f"{quoted}\n\n{text}" if quoted else text


def _describe_reply(message: Message, username: str | None) -> str:
    """Return a line that tells what a message replies to; empty if it is no reply with a text."""
    replied = message.reply_to_message
    if replied is not None and replied.is_topic_start:
        replied = None  # each message of a topic formally replies to the topic's first one
    quote = message.quote.text if message.quote is not None else (replied.text or replied.caption) if replied else ""
    quote = quote.strip()
    if not quote:
        return ""
    if len(quote) > MAX_QUOTED_CHARACTERS:
        quote = f"{quote[:MAX_QUOTED_CHARACTERS]}…"
    if replied is None:
        whose = "a message"
    elif replied.sender.is_bot and username and replied.sender.username == username:
        whose = "your message"
    else:
        whose = f"a message of {_name_author(replied)}"
    lines = "\n".join(f"> {line}" for line in quote.splitlines())
    return f"(In reply to {whose}:)\n{lines}"


def _name_author(message: Message) -> str:
    author: Chat | Person = message.sender_chat or message.sender
    name = "".join(letter if letter.isprintable() else " " for letter in author.display_name)
    return " ".join(name.split())[:MAX_NAME_CHARACTERS] or "somebody"
