"""A session: a conversation with an agent, by its key `agent:channel:chat`."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from gateway.domain.ids import is_slug
from gateway.errors import InvalidRequest

CHAT_LENGTH = 128


class SessionKey(NamedTuple):
    """The three parts of a session's key."""

    agent: str
    channel: str
    chat: str

    def __str__(self) -> str:
        return f"{self.agent}:{self.channel}:{self.chat}"

    @classmethod
    def of(cls, agent: str, channel: str, chat: str) -> SessionKey:
        """Make a key from parts that came from outside.

        Raises:
            InvalidRequest: a part has characters or a length that a key cannot have.
        """
        if not is_slug(channel):
            raise InvalidRequest("channel: only letters, digits and . _ @ - (at most 64 characters).")
        if not (1 <= len(chat) <= CHAT_LENGTH and chat.isprintable()):
            raise InvalidRequest(f"chat_id: 1 to {CHAT_LENGTH} printable characters.")
        return cls(agent, channel, chat)

    @classmethod
    def parse(cls, text: str) -> SessionKey | None:
        """Read a full key, or return None if the text is not one (it may be a raw chat name)."""
        agent, _, rest = text.partition(":")
        channel, _, chat = rest.partition(":")
        if is_slug(agent) and is_slug(channel) and 1 <= len(chat) <= CHAT_LENGTH and chat.isprintable():
            return cls(agent, channel, chat)
        return None


class Session(Struct, frozen=True, kw_only=True):
    """A session as the store knows it. Times are milliseconds since 1970 UTC."""

    key: str
    agent: str
    channel: str
    chat: str
    title: str = ""
    #: the backend's own name for the conversation, if it keeps one
    backend_ref: str | None = None
    #: messages in the transcript
    messages: int = 0
    #: runs that are queued or running
    active: int = 0
    created: int
    updated: int
    #: position among all sessions by last use; grows
    order: int = 0


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class Message(Struct, frozen=True, kw_only=True):
    """One line of a session's transcript."""

    role: Role
    content: str
    #: milliseconds since 1970 UTC
    at: int
    #: id of the run that it belongs to
    run: str
