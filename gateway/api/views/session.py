"""What clients see of a session and its messages."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from gateway.api.views.file import FileShown, render_files
from gateway.domain import times
from gateway.domain.session import Message, Session


class SessionShown(Struct, frozen=True, kw_only=True):
    """A session, as the HTTP API shows it."""

    #: agent:channel:chat
    key: str
    #: id of its agent
    agent_id: str = field(name="agentId")
    #: where its messages come from
    channel: str
    #: its name in the channel
    chat_id: str
    #: what a person called it, or else the beginning of its first message
    title: str
    #: messages in the transcript
    messages: int
    #: runs that are queued or running
    active: int
    created_at: str
    last_activity: str


def render_session(of: Session) -> SessionShown:
    return SessionShown(
        key=of.key,
        agent_id=of.agent,
        channel=of.channel,
        chat_id=of.chat,
        title=of.title,
        messages=of.message_count,
        active=of.active_runs,
        created_at=times.format_rfc3339(of.created),
        last_activity=times.format_rfc3339(of.updated),
    )


class MessageShown(Struct, frozen=True, kw_only=True):
    """One message of a transcript."""

    #: user or assistant
    role: str
    #: the text
    content: str
    #: files that came with it, or that the agent made
    files: list[FileShown]
    at: str
    run_id: str
    #: with `render=html`: `content` as HTML that is safe to show; null for a message that is too long to be rendered,
    #: and for the older ones of an answer that has too much text. `POST /api/render` renders these
    html: str | UnsetType | None = UNSET


def render_message(of: Message) -> MessageShown:
    return MessageShown(
        role=of.role,
        content=of.content,
        files=render_files(of.files),
        at=times.format_rfc3339(of.at),
        run_id=of.run,
    )
