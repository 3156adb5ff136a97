"""What other systems post to us: `POST /api/webhook/{channel}`, signed instead of with a token."""

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

#: bytes of a webhook's body
LARGEST = 256 * 1024
#: characters of a message in Slack
SLACK_LENGTH = 40_000


class Posted(Struct, frozen=True, kw_only=True):
    """A webhook as the provider `generic` takes it; each other provider has its own."""

    event: str
    data: dict[str, Any]


class Taken(Struct, frozen=True, kw_only=True):
    """What was posted is on disk and will be acted on."""

    status: str = "ok"
    #: id of the run that acts on it; the same when the same is posted again
    message_id: str


def knock(request: web.Request, server: Surroundings) -> None:
    """Refuse whom the header alone tells to be a stranger, and what has no door."""
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
    """Take a webhook, verified by its own signature; the same one again is answered the same."""
    taken = await call.engine.channels.take(call.path["channel"], call.request.headers, call.body)
    if isinstance(taken, Aside):
        return reply.json(taken.body, 200, call.headers)
    call.headers["X-Run-Id"] = taken.id
    return Taken(message_id=taken.id)


class SlackMessage(Struct, frozen=True, kw_only=True):
    """What is posted to the address that a Slack command gives for its answer."""

    text: str


def _slack_message(run: Run) -> bytes:
    return msgspec.json.encode(SlackMessage(text=said(run).decode()[:SLACK_LENGTH]))


BODIES = {SLACK: _slack_message}
