"""A session: a conversation with an agent, identified by its key `agent:channel:chat`."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from gateway.domain.file import File
from gateway.domain.ids import is_slug
from gateway.domain.reach import Reach
from gateway.errors import InvalidRequest

#: longest name of a chat
MAX_CHAT_CHARACTERS = 128


class SessionKey(NamedTuple):
    """The three parts of a session's key."""

    agent: str
    channel: str
    chat: str

    def __str__(self) -> str:
        return f"{self.agent}:{self.channel}:{self.chat}"

    @classmethod
    def from_parts(cls, agent: str, channel: str, chat: str, *, field: str = "chat_id") -> SessionKey:
        """Check the channel and the chat, which may come from a client, and return the session key.

        Args:
            field: the name by which the client sends the chat.

        Raises:
            InvalidRequest: the channel or the chat has characters or a length that a key cannot have.
        """
        if not is_slug(channel):
            raise InvalidRequest("channel: use only letters, digits and . _ @ - (at most 64 characters).")
        if not (1 <= len(chat) <= MAX_CHAT_CHARACTERS and chat.isprintable()):
            raise InvalidRequest(f"{field}: use 1 to {MAX_CHAT_CHARACTERS} printable characters.")
        return cls(agent, channel, chat)

    @classmethod
    def parse_key(cls, text: str) -> SessionKey | None:
        """Return the key that a text spells, or None if it is not a full key; it may be the bare name of a chat."""
        agent, _, rest = text.partition(":")
        channel, _, chat = rest.partition(":")
        if is_slug(agent) and is_slug(channel) and 1 <= len(chat) <= MAX_CHAT_CHARACTERS and chat.isprintable():
            return cls(agent, channel, chat)
        return None


class Session(Struct, frozen=True, kw_only=True):
    """A stored session. Times are milliseconds since 1970 UTC."""

    key: str
    agent: str
    channel: str
    chat: str
    title: str = ""
    #: the backend's id of the conversation, if the backend keeps one
    backend_ref: str | None = None
    #: number of messages in the transcript
    message_count: int = 0
    #: number of runs that are queued or running
    active_runs: int = 0
    created: int
    updated: int
    #: position among all sessions by last use; a session used later has a higher one
    last_use_order: int = 0


class SessionFilter(Struct, frozen=True, kw_only=True):
    """Which sessions to list; None matches all."""

    agent: str | None = None
    channel: str | None = None
    #: what the title or the key contains, in capital or small letters
    words: str | None = None
    #: sessions that a limited caller reaches
    reach: Reach | None = None


ALL_SESSIONS = SessionFilter()


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class Message(Struct, frozen=True, kw_only=True):
    """One message of a session's transcript."""

    role: Role
    content: str
    #: milliseconds since 1970 UTC
    at: int
    #: id of the run that it belongs to
    run: str
    #: position in the transcript, from 1
    number: int = 0
    #: files that came with it, or that the agent made
    files: tuple[File, ...] = ()
    #: whether the model refused this prompt: later turns do not send it again
    is_refused: bool = False
