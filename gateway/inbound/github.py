"""GitHub's webhooks: https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.

`X-Hub-Signature-256` signs only the body. `X-GitHub-Delivery` identifies a delivery and stays the same
when GitHub sends it again, but it is not signed.
"""

from __future__ import annotations

from gateway.errors import Unauthorized
from gateway.inbound import Headers, ParsedWebhook, Payload, Provider, Secrets
from gateway.security import signatures

GITHUB_SIGNATURE_HEADER = "X-Hub-Signature-256"
GITHUB_DELIVERY_HEADER = "X-GitHub-Delivery"
GITHUB_EVENT_HEADER = "X-GitHub-Event"


def check_headers(headers: Headers, secrets: Secrets, now: int) -> None:
    _require_signature(headers)
    signatures.require_header(headers, GITHUB_DELIVERY_HEADER)
    signatures.require_header(headers, GITHUB_EVENT_HEADER)


def verify_signature(headers: Headers, body: bytes, secrets: Secrets) -> None:
    signatures.check_hex_signature(_require_signature(headers), body, secrets)


def read_webhook(headers: Headers, body: bytes, payload: Payload) -> ParsedWebhook:
    event = signatures.require_header(headers, GITHUB_EVENT_HEADER)
    action = payload.get("action")
    return ParsedWebhook(
        id=signatures.require_header(headers, GITHUB_DELIVERY_HEADER),
        events=(event, f"{event}.{action}") if isinstance(action, str) else (event,),
        immediate_reply={"status": "ok", "message": "pong"} if event == "ping" else None,
    )


def _require_signature(headers: Headers) -> str:
    kind, _, signature = signatures.require_header(headers, GITHUB_SIGNATURE_HEADER).partition("=")
    if kind != "sha256" or len(signature) != 64:
        raise Unauthorized(f"the header {GITHUB_SIGNATURE_HEADER} is not sha256=<64 hexadecimal digits>.")
    return signature


PROVIDER = Provider(
    check_headers=check_headers,
    verify_signature=verify_signature,
    read_webhook=read_webhook,
    prompt=(
        "{sender.login|Somebody} at {repository.full_name|GitHub}: {action|event}."
        " {pull_request.title|}{issue.title|} {pull_request.html_url|}{issue.html_url|}{compare|}"
    ),
    session="{repository.full_name|github}",
)
