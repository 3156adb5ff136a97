"""Requests that are signed as providers sign them: one valid request of each, which tests send or break."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

SHARED_SECRET = "a-secret-that-both-sides-know"
STANDARD_SECRET = "whsec_" + base64.b64encode(b"a secret of Standard Webhooks 24").decode()


@dataclass(frozen=True)
class WebhookProvider:
    """One provider's way of sending webhooks."""

    name: str
    payload: Mapping[str, Any]
    #: makes the headers for a body
    sign: Callable[[bytes, str, int], dict[str, str]]
    #: name of the header with the signature or the secret
    signature: str
    #: name of the header with the time; None if the provider sends none
    timed: str | None
    #: the agent's input, and the session that gets it
    told: str
    session: str
    secret: str = SHARED_SECRET
    #: settings of the webhook endpoint, in addition to provider and secret
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return json.dumps(self.payload).encode()


def _hex(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def generic(body: bytes, secret: str, now: int) -> dict[str, str]:
    return {"X-Moongate-Signature": f"t={now},v1={_hex(secret, f'{now}.'.encode() + body)}"}


def github(body: bytes, secret: str, now: int) -> dict[str, str]:
    return {
        "X-GitHub-Event": "pull_request",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-Hub-Signature-256": f"sha256={_hex(secret, body)}",
    }


def slack(body: bytes, secret: str, now: int) -> dict[str, str]:
    return {
        "X-Slack-Request-Timestamp": str(now),
        "X-Slack-Signature": f"v0={_hex(secret, f'v0:{now}:'.encode() + body)}",
    }


def telegram(body: bytes, secret: str, now: int) -> dict[str, str]:
    return {"X-Telegram-Bot-Api-Secret-Token": secret}


def standard(body: bytes, secret: str, now: int, id_: str = "msg_1") -> dict[str, str]:
    made = Webhook(secret).sign(id_, datetime.fromtimestamp(now, UTC), body.decode())
    return {"webhook-id": id_, "webhook-timestamp": str(now), "webhook-signature": f"v1,unknown== {made}"}


WEBHOOK_SENDERS = [
    WebhookProvider(
        name="generic",
        payload={"event": "message", "data": {"chat_id": "42", "content": "Hello!", "id": "m-1"}},
        sign=generic,
        signature="X-Moongate-Signature",
        timed="X-Moongate-Signature",
        told="Hello!",
        session="main:generic:42",
    ),
    WebhookProvider(
        name="github",
        payload={
            "action": "opened",
            "number": 7,
            "pull_request": {"title": "Mend it", "html_url": "https://github.example/a/b/pull/7", "body": None},
            "repository": {"full_name": "a/b"},
        },
        sign=github,
        signature="X-Hub-Signature-256",
        timed=None,
        told="Review pull request 7 of a/b: Mend it",
        session="main:github:a/b#7",
        settings={
            "prompt": "Review pull request {number} of {repository.full_name}: {pull_request.title}",
            "session": "{repository.full_name}#{number}",
            "events": ["pull_request.opened"],
        },
    ),
    WebhookProvider(
        name="slack",
        payload={
            "type": "event_callback",
            "event_id": "Ev08MFMKH6",
            "event": {"type": "app_mention", "user": "U1", "text": "<@U0> hello", "channel": "C123", "ts": "1.2"},
        },
        sign=slack,
        signature="X-Slack-Signature",
        timed="X-Slack-Request-Timestamp",
        told="<@U0> hello",
        session="main:slack:C123",
    ),
    WebhookProvider(
        name="telegram",
        payload={"update_id": 10, "message": {"message_id": 1, "date": 0, "chat": {"id": -100}, "text": "hello"}},
        sign=telegram,
        signature="X-Telegram-Bot-Api-Secret-Token",
        timed=None,
        told="hello",
        session="main:telegram:-100",
    ),
    WebhookProvider(
        name="standard",
        payload={"type": "invoice.paid", "timestamp": "2026-01-01T00:00:00Z", "data": {"id": "in_1", "sum": 12}},
        sign=standard,
        signature="webhook-signature",
        timed="webhook-timestamp",
        told='invoice.paid: {"id":"in_1","sum":12}',
        session="main:standard:invoice.paid",
        secret=STANDARD_SECRET,
    ),
]


def make_endpoint_settings() -> dict[str, Any]:
    """Return settings with an endpoint for each provider, under the provider's name."""
    return {
        sender.name: {"provider": sender.name, "secret": sender.secret, **sender.settings} for sender in WEBHOOK_SENDERS
    }
