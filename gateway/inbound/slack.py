"""Slack's Events API and its commands: https://docs.slack.dev/authentication/verifying-requests-from-slack,
https://docs.slack.dev/interactivity/implementing-slash-commands.

Slack sends an event again, with `X-Slack-Retry-Num`, if the response takes more than three seconds; its
`event_id` stays the same. Messages of bots, including our own, are ignored. A command comes once, as a
form: the response is shown to its user alone, and the form has an address for the answer.
"""

from __future__ import annotations

import re

from gateway.domain.delivery import SLACK_FORMAT, WEBHOOK_KIND, Target
from gateway.errors import InvalidRequest, Unauthorized
from gateway.inbound import Headers, ParsedWebhook, Payload, Provider, Secrets
from gateway.security import signatures

SLACK_SIGNATURE_HEADER = "X-Slack-Signature"
SLACK_TIME_HEADER = "X-Slack-Request-Timestamp"

_RESPONSE_URL_PATTERN = re.compile(r"https://hooks\.slack\.com/[\w/.-]{1,500}")


def check_headers(headers: Headers, secrets: Secrets, now: int) -> None:
    _require_signature(headers)
    signatures.check_time(signatures.require_header(headers, SLACK_TIME_HEADER), now)


def verify_signature(headers: Headers, body: bytes, secrets: Secrets) -> None:
    signed = (
        b"v0:" + signatures.require_header(headers, SLACK_TIME_HEADER).encode("utf-8", "surrogateescape") + b":" + body
    )
    signatures.check_hex_signature(_require_signature(headers), signed, secrets)


def read_webhook(headers: Headers, body: bytes, payload: Payload) -> ParsedWebhook:
    if "command" in payload:
        return _read_command(payload)
    kind = payload.get("type")
    if kind == "url_verification":
        return ParsedWebhook(immediate_reply={"challenge": signatures.read_text_at(payload, "challenge")})
    if kind != "event_callback":
        return ParsedWebhook(ignore_reason=f"it is of the type {str(kind)[:64]!r}, not event_callback")
    event = payload.get("event")
    if not isinstance(event, dict):
        raise InvalidRequest("event: an object is missing there.")
    name = signatures.read_text_at(payload, "event", "type")
    subtype = event.get("subtype")
    return ParsedWebhook(
        id=signatures.read_text_at(payload, "event_id"),
        events=(name, f"{name}.{subtype}") if isinstance(subtype, str) else (name,),
        ignore_reason="a bot said it" if event.get("bot_id") else "",
    )


def _read_command(payload: Payload) -> ParsedWebhook:
    command, url = signatures.read_text_at(payload, "command"), payload.get("response_url", "")
    return ParsedWebhook(
        id=signatures.read_text_at(payload, "trigger_id"),
        events=("command", f"command.{command}"),
        make_run_reply=lambda run: {"response_type": "ephemeral", "text": f"Taken, as task {run}."},
        reply_to=Target(kind=WEBHOOK_KIND, address=url, format=SLACK_FORMAT)
        if _RESPONSE_URL_PATTERN.fullmatch(url)
        else None,
    )


def _require_signature(headers: Headers) -> str:
    version, _, signature = signatures.require_header(headers, SLACK_SIGNATURE_HEADER).partition("=")
    if version != "v0" or len(signature) != 64:
        raise Unauthorized(f"the header {SLACK_SIGNATURE_HEADER} is not v0=<64 hexadecimal digits>.")
    return signature


PROVIDER = Provider(
    check_headers=check_headers,
    verify_signature=verify_signature,
    read_webhook=read_webhook,
    prompt="{event.text|}{text|}",
    session="{event.channel|}{channel_id|}",
)
