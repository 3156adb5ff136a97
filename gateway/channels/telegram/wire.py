"""The types of the Bot API: https://core.telegram.org/bots/api. Fields that we do not use are left out."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Raw, Struct, field


class ResponseParameters(Struct, frozen=True):
    """Hints of a refusal: what to do about it."""

    retry_after: int | None = None
    migrate_to_chat_id: int | None = None


class Response(Struct, frozen=True):
    """The response to every call."""

    ok: bool
    result: Raw = field(default_factory=lambda: Raw(b"null"))
    error_code: int = 0
    description: str = ""
    parameters: ResponseParameters = ResponseParameters()


class BotUser(Struct, frozen=True):
    """The bot itself."""

    username: str = ""


class Chat(Struct, frozen=True):
    id: int
    #: private, group, supergroup or channel
    type: str = "private"
    title: str = ""
    username: str = ""
    first_name: str = ""
    last_name: str = ""

    @property
    def is_group(self) -> bool:
        """Whether several people can write in it."""
        return self.type in ("group", "supergroup")

    @property
    def display_name(self) -> str:
        """The name that people see."""
        return self.title or _join_names(self.first_name, self.last_name) or self.username


class Person(Struct, frozen=True):
    """The user or bot that wrote a message."""

    is_bot: bool = False
    username: str = ""
    first_name: str = ""
    last_name: str = ""

    @property
    def display_name(self) -> str:
        """The name that people see."""
        return _join_names(self.first_name, self.last_name) or self.username


class Quote(Struct, frozen=True):
    """The part of another message that a reply quotes."""

    text: str = ""


class Media(Struct, frozen=True, omit_defaults=True):
    """A file that Telegram stores: https://core.telegram.org/bots/api#document and its like."""

    #: names it for `getFile`
    file_id: str = ""
    file_size: int | None = None
    file_name: str = ""
    mime_type: str = ""
    #: of photos, which come in several sizes
    width: int = 0
    #: of stickers
    emoji: str = ""
    is_animated: bool = False
    is_video: bool = False


class Message(Struct, frozen=True, omit_defaults=True):
    message_id: int
    chat: Chat
    text: str = ""
    caption: str = ""
    sender: Person = field(name="from", default=Person())
    #: the chat in whose name it was written: a channel, or the group itself by an anonymous administrator
    sender_chat: Chat | None = None
    message_thread_id: int | None = None
    #: whether it is in a topic of a forum; then `message_thread_id` is the topic, and otherwise a thread of replies
    is_topic_message: bool = False
    reply_to_message: Message | None = None
    quote: Quote | None = None
    #: the same for all messages of an album
    media_group_id: str = ""
    #: is there if the message opened a topic
    forum_topic_created: Any = None
    # files
    animation: Media | None = None
    audio: Media | None = None
    document: Media | None = None
    #: one picture in several sizes
    photo: tuple[Media, ...] | None = None
    sticker: Media | None = None
    video: Media | None = None
    video_note: Media | None = None
    voice: Media | None = None
    # other media; only whether they are there counts
    contact: Any = None
    dice: Any = None
    game: Any = None
    location: Any = None
    paid_media: Any = None
    poll: Any = None
    story: Any = None

    @property
    def has_media(self) -> bool:
        """Whether a person sent something else than text; notices of the service have neither."""
        return any(getattr(self, name) is not None for name in MEDIA_FIELDS)

    @property
    def is_topic_start(self) -> bool:
        return self.forum_topic_created is not None


#: fields of messages that are not text
MEDIA_FIELDS = (
    "animation audio contact dice document game location paid_media photo poll sticker story video video_note voice"
).split()


class CallbackQuery(Struct, frozen=True):
    """Somebody has pressed a button."""

    id: str
    data: str = ""
    #: the message with the button; an old one has only its number and chat
    message: Message | None = None


class Update(Struct, frozen=True, omit_defaults=True):
    """One thing that happened; the numbers grow."""

    update_id: int
    message: Message | None = None
    #: the new text of an earlier message
    edited_message: Message | None = None
    callback_query: CallbackQuery | None = None


class NumberedUpdate(Struct, frozen=True):
    """The part of an update that is always there."""

    update_id: int


class StoredFile(Struct, frozen=True):
    """Where Telegram stores a file for some time."""

    file_path: str = ""


class SentMessage(Struct, frozen=True):
    """A message that was sent."""

    message_id: int


CallParams = dict[str, Any]


class Address(NamedTuple):
    """Where a message goes: a chat, or a topic of a forum."""

    #: a number, or the name of a public chat
    chat: str
    topic: int | None


def format_address(chat: int, topic: int | None) -> str:
    """Return the id of a chat as the gateway knows it: `chat`, or `chat:topic`."""
    return str(chat) if topic is None else f"{chat}:{topic}"


def parse_address(chat: str) -> Address:
    """Return the parts of a chat's id."""
    name, colon, topic = chat.rpartition(":")
    return Address(name, int(topic)) if colon and topic.isascii() and topic.isdecimal() else Address(chat, None)


def _join_names(*names: str) -> str:
    return " ".join(filter(None, names))


def parse_note_number(text: str | None) -> int:
    """Return the number that a note of ours holds; 0 if there is no note, or if it holds no number."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() else 0
