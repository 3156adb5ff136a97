"""GitHub's webhooks: https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.

`X-Hub-Signature-256` signs only the body. `X-GitHub-Delivery` identifies a delivery and stays the same
when GitHub sends it again, but it is not signed.
"""

from __future__ import annotations

from gateway.errors import Unauthorized
from gateway.inbound import Headers, Payload, Posted, Provider, Secrets
from gateway.security import signatures

SIGNATURE = "X-Hub-Signature-256"
DELIVERY = "X-GitHub-Delivery"
EVENT = "X-GitHub-Event"


def admit(headers: Headers, secrets: Secrets, now: int) -> None:
    _signature(headers)
    signatures.header(headers, DELIVERY)
    signatures.header(headers, EVENT)


def verify(headers: Headers, body: bytes, secrets: Secrets) -> None:
    signatures.check_hex(_signature(headers), body, secrets)


def read(headers: Headers, body: bytes, payload: Payload) -> Posted:
    event = signatures.header(headers, EVENT)
    action = payload.get("action")
    return Posted(
        id=signatures.header(headers, DELIVERY),
        events=(event, f"{event}.{action}") if isinstance(action, str) else (event,),
        answer={"status": "ok", "message": "pong"} if event == "ping" else None,
    )


def _signature(headers: Headers) -> str:
    kind, _, signature = signatures.header(headers, SIGNATURE).partition("=")
    if kind != "sha256" or len(signature) != 64:
        raise Unauthorized(f"the header {SIGNATURE} is not sha256=<64 hexadecimal digits>.")
    return signature


PROVIDER = Provider(
    admit=admit,
    verify=verify,
    read=read,
    prompt=(
        "{sender.login|Somebody} at {repository.full_name|GitHub}: {action|event}."
        " {pull_request.title|}{issue.title|} {pull_request.html_url|}{issue.html_url|}{compare|}"
    ),
    session="{repository.full_name|github}",
)
