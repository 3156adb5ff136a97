"""The types of the Bot API: https://core.telegram.org/bots/api. Fields that we do not use are left out."""

from __future__ import annotations

from typing import Any

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
    title: str = ""
    username: str = ""
    first_name: str = ""
    last_name: str = ""

    @property
    def display_name(self) -> str:
        """The name that people see."""
        person = " ".join(filter(None, (self.first_name, self.last_name)))
        return self.title or person or self.username


class MessageSender(Struct, frozen=True):
    is_bot: bool = False


class Message(Struct, frozen=True):
    message_id: int
    chat: Chat
    text: str = ""
    caption: str = ""
    sender: MessageSender = field(name="from", default=MessageSender())


class CallbackQuery(Struct, frozen=True):
    """Somebody has pressed a button."""

    id: str
    data: str = ""
    #: the message with the button; an old one has only its number and chat
    message: Message | None = None


class Update(Struct, frozen=True):
    """One thing that happened; the numbers grow."""

    update_id: int
    message: Message | None = None
    callback_query: CallbackQuery | None = None


class NumberedUpdate(Struct, frozen=True):
    """The part of an update that is always there."""

    update_id: int


class SentMessage(Struct, frozen=True):
    """A message that was sent."""

    message_id: int


CallParams = dict[str, Any]


def parse_note_number(text: str | None) -> int:
    """Return the number that a note of ours holds; 0 if there is no note, or if it holds no number."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() else 0
