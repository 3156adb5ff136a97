"""Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md."""

from __future__ import annotations

import base64

from gateway.inbound import Headers, ParsedWebhook, Payload, Provider, Secrets
from gateway.security import signatures

STANDARD_ID_HEADER, STANDARD_TIME_HEADER, STANDARD_SIGNATURE_HEADER = (
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
)

#: signatures of one request that are checked, at most
MAX_CHECKED_SIGNATURES = 10


def check_headers(headers: Headers, secrets: Secrets, now: int) -> None:
    signatures.require_header(headers, STANDARD_ID_HEADER)
    signatures.require_header(headers, STANDARD_SIGNATURE_HEADER)
    signatures.check_time(signatures.require_header(headers, STANDARD_TIME_HEADER), now)


def verify_signature(headers: Headers, body: bytes, secrets: Secrets) -> None:
    parts = (signatures.require_header(headers, name) for name in (STANDARD_ID_HEADER, STANDARD_TIME_HEADER))
    signed = "".join(f"{part}." for part in parts).encode("utf-8", "surrogateescape")
    right = [
        base64.b64encode(signatures.hmac_digest(signatures.decode_standard_key(secret), signed + body)).decode()
        for secret in secrets
    ]
    sent = signatures.require_header(headers, STANDARD_SIGNATURE_HEADER).split()[:MAX_CHECKED_SIGNATURES]
    versioned = [signature.removeprefix("v1,") for signature in sent if signature.startswith("v1,")]
    if not any(signatures.equals_constant_time(one, other) for one in versioned for other in right):
        raise signatures.wrong_signature()


def read_webhook(headers: Headers, body: bytes, payload: Payload) -> ParsedWebhook:
    kind = payload.get("type")
    return ParsedWebhook(
        id=signatures.require_header(headers, STANDARD_ID_HEADER), events=(kind,) if isinstance(kind, str) else ()
    )


PROVIDER = Provider(
    check_headers=check_headers,
    verify_signature=verify_signature,
    read_webhook=read_webhook,
    prompt="{type|event}: {data|}",
    session="{type|standard}",
    check_secret=signatures.decode_standard_key,
)
