"""Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md."""

from __future__ import annotations

import base64

from gateway.inbound import Headers, Payload, Posted, Provider, Secrets
from gateway.security import signatures

ID, TIME, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

#: signatures of one request that are checked, at most
MOST = 10


def admit(headers: Headers, secrets: Secrets, now: int) -> None:
    signatures.header(headers, ID)
    signatures.header(headers, SIGNATURE)
    signatures.check_time(signatures.header(headers, TIME), now)


def verify(headers: Headers, body: bytes, secrets: Secrets) -> None:
    signed = f"{signatures.header(headers, ID)}.{signatures.header(headers, TIME)}.".encode("utf-8", "surrogateescape")
    right = [
        base64.b64encode(signatures.digest(signatures.standard_key(secret), signed + body)).decode()
        for secret in secrets
    ]
    sent = signatures.header(headers, SIGNATURE).split()[:MOST]
    versioned = [signature.removeprefix("v1,") for signature in sent if signature.startswith("v1,")]
    if not any(signatures.same(one, other) for one in versioned for other in right):
        raise signatures.wrong()


def read(headers: Headers, body: bytes, payload: Payload) -> Posted:
    kind = payload.get("type")
    return Posted(id=signatures.header(headers, ID), events=(kind,) if isinstance(kind, str) else ())


PROVIDER = Provider(
    admit=admit,
    verify=verify,
    read=read,
    prompt="{type|event}: {data|}",
    session="{type|standard}",
    check_secret=signatures.standard_key,
)
