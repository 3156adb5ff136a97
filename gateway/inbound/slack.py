"""Slack's Events API and its commands: https://docs.slack.dev/authentication/verifying-requests-from-slack,
https://docs.slack.dev/interactivity/implementing-slash-commands.

Slack sends an event again, with `X-Slack-Retry-Num`, if the response takes more than three seconds; its
`event_id` stays the same. Messages of bots, including our own, are ignored. A command comes once, as a
form: the response is shown to its user alone, and the form has an address for the answer.
"""

from __future__ import annotations

import re

from gateway.domain.delivery import SLACK, WEBHOOK, Target
from gateway.errors import InvalidRequest, Unauthorized
from gateway.inbound import Headers, Payload, Posted, Provider, Secrets
from gateway.security import signatures

SIGNATURE = "X-Slack-Signature"
TIME = "X-Slack-Request-Timestamp"

_RESPONSE_URL = re.compile(r"https://hooks\.slack\.com/[\w/.-]{1,500}")


def admit(headers: Headers, secrets: Secrets, now: int) -> None:
    _signature(headers)
    signatures.check_time(signatures.header(headers, TIME), now)


def verify(headers: Headers, body: bytes, secrets: Secrets) -> None:
    signed = b"v0:" + signatures.header(headers, TIME).encode("utf-8", "surrogateescape") + b":" + body
    signatures.check_hex(_signature(headers), signed, secrets)


def read(headers: Headers, body: bytes, payload: Payload) -> Posted:
    if "command" in payload:
        return _command(payload)
    kind = payload.get("type")
    if kind == "url_verification":
        return Posted(answer={"challenge": signatures.text_at(payload, "challenge")})
    if kind != "event_callback":
        return Posted(idle=f"it is of the type {str(kind)[:64]!r}, not event_callback")
    event = payload.get("event")
    if not isinstance(event, dict):
        raise InvalidRequest("event: an object is missing there.")
    name = signatures.text_at(payload, "event", "type")
    subtype = event.get("subtype")
    return Posted(
        id=signatures.text_at(payload, "event_id"),
        events=(name, f"{name}.{subtype}") if isinstance(subtype, str) else (name,),
        idle="a bot said it" if event.get("bot_id") else "",
    )


def _command(payload: Payload) -> Posted:
    command, url = signatures.text_at(payload, "command"), payload.get("response_url", "")
    return Posted(
        id=signatures.text_at(payload, "trigger_id"),
        events=("command", f"command.{command}"),
        taken=lambda run: {"response_type": "ephemeral", "text": f"Taken, as task {run}."},
        reply_to=Target(kind=WEBHOOK, address=url, format=SLACK) if _RESPONSE_URL.fullmatch(url) else None,
    )


def _signature(headers: Headers) -> str:
    version, _, signature = signatures.header(headers, SIGNATURE).partition("=")
    if version != "v0" or len(signature) != 64:
        raise Unauthorized(f"the header {SIGNATURE} is not v0=<64 hexadecimal digits>.")
    return signature


PROVIDER = Provider(
    admit=admit, verify=verify, read=read, prompt="{event.text|}{text|}", session="{event.channel|}{channel_id|}"
)
