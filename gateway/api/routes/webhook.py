"""Receives webhooks: `POST /api/webhook/{channel}`; they carry a signature instead of a token."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.api import body, reply
from gateway.api.routing import Call, Nothing, Routes, ServerContext
from gateway.domain.delivery import SLACK_FORMAT
from gateway.domain.inbound import ImmediateReply
from gateway.domain.run import Run
from gateway.engine.messaging.channels import make_chat_reply

ROUTES = Routes("webhooks in")

#: characters that a message in Slack may have
MAX_SLACK_CHARACTERS = 40_000


class Posted(Struct, frozen=True, kw_only=True):
    """A webhook for the provider `generic`; every other provider has a shape of its own."""

    #: what happened, such as `message`; `events` of the entry may choose some
    event: str
    #: what the templates of the entry may name; for `message`: `chat_id`, `content`, and `id` to detect duplicates
    data: dict[str, Any]


class Taken(Struct, frozen=True, kw_only=True):
    """The webhook is on disk; a run will handle it."""

    status: str = "ok"
    #: id of the run that handles it; the same id when the same webhook is posted again
    message_id: str


def check_headers(request: web.Request, server: ServerContext) -> None:
    """Refuse an unknown channel, and a request whose header already shows a wrong signature or secret."""
    server.engine.channels.find_webhook_receiver(request.match_info["channel"]).check_headers(request.headers)


def limit_webhook_body(request: web.Request, server: ServerContext) -> body.BodyLimit:
    """Return how long the body of a webhook may be."""
    return body.BodyLimit(*server.engine.channels.find_webhook_body_limit(request.match_info["channel"]))


@ROUTES.add(
    "POST",
    "/api/webhook/{channel}",
    scope=None,
    body=Posted,
    answer=Taken,
    status=202,
    gate=check_headers,
    body_limit=limit_webhook_body,
    media_types=(body.JSON_MEDIA_TYPE, body.FORM_MEDIA_TYPE),
)
async def take(call: Call[bytes, Nothing]) -> Taken | web.Response:
    """Receive a webhook, verified by its own signature; the same webhook again gets the same answer."""
    taken = await call.engine.channels.receive_webhook(call.path["channel"], call.request.headers, call.body)
    if isinstance(taken, ImmediateReply):
        return reply.json_response(taken.body, 200, call.headers)
    call.headers["X-Run-Id"] = taken.id
    return Taken(message_id=taken.id)


class SlackMessage(Struct, frozen=True, kw_only=True):
    """The body that is posted to the answer URL of a Slack command."""

    text: str


def _encode_slack_message(run: Run) -> bytes:
    return msgspec.json.encode(SlackMessage(text=make_chat_reply(run).decode()[:MAX_SLACK_CHARACTERS]))


BODIES = {SLACK_FORMAT: _encode_slack_message}
