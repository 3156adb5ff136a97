"""Receives webhooks: `POST /api/webhook/{channel}`; they carry a signature instead of a token."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.api import body, reply
from gateway.api.routing import Call, Nothing, Routes, Surroundings
from gateway.domain.delivery import SLACK
from gateway.domain.inbound import Aside
from gateway.domain.run import Run
from gateway.engine.messaging.channels import said

ROUTES = Routes("webhooks in")

#: bytes that the body of a webhook may have
LARGEST = 256 * 1024
#: characters that a message in Slack may have
SLACK_LENGTH = 40_000


class Posted(Struct, frozen=True, kw_only=True):
    """A webhook for the provider `generic`; every other provider has a shape of its own."""

    event: str
    data: dict[str, Any]


class Taken(Struct, frozen=True, kw_only=True):
    """The webhook is on disk; a run will handle it."""

    status: str = "ok"
    #: id of the run that handles it; the same id when the same webhook is posted again
    message_id: str


def knock(request: web.Request, server: Surroundings) -> None:
    """Refuse an unknown channel, and a request whose header already shows a wrong signature or secret."""
    server.engine.channels.door(request.match_info["channel"]).admit(request.headers)


@ROUTES.add(
    "POST",
    "/api/webhook/{channel}",
    scope=None,
    body=Posted,
    answer=Taken,
    status=202,
    gate=knock,
    max_body_bytes=LARGEST,
    media_types=(body.JSON, body.FORM),
)
async def take(call: Call[bytes, Nothing]) -> Taken | web.Response:
    """Receive a webhook, verified by its own signature; the same webhook again gets the same answer."""
    taken = await call.engine.channels.take(call.path["channel"], call.request.headers, call.body)
    if isinstance(taken, Aside):
        return reply.json(taken.body, 200, call.headers)
    call.headers["X-Run-Id"] = taken.id
    return Taken(message_id=taken.id)


class SlackMessage(Struct, frozen=True, kw_only=True):
    """The body that is posted to the answer URL of a Slack command."""

    text: str


def _slack_message(run: Run) -> bytes:
    return msgspec.json.encode(SlackMessage(text=said(run).decode()[:SLACK_LENGTH]))


BODIES = {SLACK: _slack_message}
