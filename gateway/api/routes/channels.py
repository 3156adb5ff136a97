"""Channels: list them, show whether they work, and pair chats."""

from __future__ import annotations

from msgspec import Struct

from gateway.api import fields, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.audit import AuditAction
from gateway.domain.delivery import ChannelSends
from gateway.domain.token import Scope
from gateway.engine.messaging.channels import ChannelView

ROUTES = Routes("channels")


class ChatShown(Struct, frozen=True, kw_only=True):
    """A chat that is allowed."""

    #: id of the chat in its channel
    chat: str
    #: its name there; may be empty
    title: str
    #: when it was paired by a code; null when the settings allow it
    paired_at: str | None


class SendShown(Struct, frozen=True, kw_only=True):
    """An attempt to send something to a chat."""

    #: when it began
    at: str
    #: whether the channel took it
    ok: bool


class ChannelShown(Struct, frozen=True, kw_only=True):
    #: its name
    name: str
    #: `chat`, or `webhook` for an endpoint that only receives webhooks
    kind: str
    #: `ready`, `polling`, `webhook`, `passive`, `waiting`, `refused` or `unconfigured`
    state: str
    #: more about the state, for people
    detail: str
    #: those that are allowed
    chats: list[ChatShown]
    #: when its platform last answered that there are messages or none; null if it is not asked, or never answered
    last_poll_at: str | None
    #: when it last took something that was sent to a chat; null if that is not known
    last_success_at: str | None
    #: when it last failed to
    last_error_at: str | None
    #: why it failed then
    last_error: str | None
    #: the last 30 attempts to send something to a chat, oldest first
    recent: list[SendShown]


class ChannelList(Struct, frozen=True, kw_only=True):
    channels: list[ChannelShown]


class Code(Struct, frozen=True, kw_only=True):
    """The code that a person sends to the channel to pair a chat; it works once."""

    status: str = "ok"
    #: what to send to the channel
    code: str
    expires_at: str


class Ok(Struct, frozen=True):
    status: str = "ok"


@ROUTES.add("GET", "/api/channels", scope=Scope.READ, answer=ChannelList)
async def list_channels(call: Call[Nothing, Nothing]) -> ChannelList:
    """List the channels, whether they work, and which chats are allowed."""
    found = await call.engine.channels.list_views()
    sends = await call.engine.deliveries.read_channel_sends([view.name for view in found], fields.DEFAULT_EACH_COUNT)
    return ChannelList(channels=[_render_channel(view, sends[view.name]) for view in found])


@ROUTES.add("POST", "/api/channels/{channel}/pair", scope=Scope.ADMIN, answer=Code, status=201)
async def pair(call: Call[Nothing, Nothing]) -> Code:
    """Make a code that pairs one chat within ten minutes."""
    code, expires = await call.engine.channels.create_pairing_code(call.path["channel"])
    await call.engine.audit.add(AuditAction.CHANNEL_CODE_MADE, call.path["channel"])
    return Code(code=code, expires_at=times.format_rfc3339(expires))


@ROUTES.add("DELETE", "/api/channels/{channel}/chats/{chat}", scope=Scope.ADMIN, answer=Ok)
async def dismiss(call: Call[Nothing, Nothing]) -> Ok:
    """Unpair a chat."""
    await call.engine.channels.unpair_chat(call.path["channel"], call.path["chat"])
    await call.engine.audit.add(AuditAction.CHANNEL_CHAT_REMOVED, f"{call.path['channel']}:{call.path['chat']}")
    return Ok()


def _render_channel(view: ChannelView, sends: ChannelSends) -> ChannelShown:
    chats = [ChatShown(chat=chat, title="", paired_at=None) for chat in view.allowed]
    chats += [
        ChatShown(chat=one.chat, title=one.title, paired_at=times.format_rfc3339(one.paired_at)) for one in view.paired
    ]
    return ChannelShown(
        name=view.name,
        kind=view.kind,
        state=view.state.state,
        detail=view.state.detail,
        chats=chats,
        last_poll_at=views.render_time(view.state.last_poll),
        last_success_at=views.render_time(sends.last_success),
        last_error_at=views.render_time(sends.last_failure),
        last_error=sends.last_error,
        recent=[SendShown(at=times.format_rfc3339(one.at), ok=one.ok) for one in sends.recent],
    )
