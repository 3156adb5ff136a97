"""For any sender that can compute an HMAC: `{"event": "message", "data": {"chat_id", "content", "id"?}}`.

The header is `X-Moongate-Signature: t=<seconds since 1970>,v1=<hex>`. `v1` is the HMAC-SHA256, with
the secret as its key, of the time, a dot and the body.
"""

from __future__ import annotations

import hashlib
import re

from gateway.errors import InvalidRequest, Unauthorized
from gateway.inbound import Headers, ParsedWebhook, Payload, Provider, Secrets
from gateway.security import signatures

MOONGATE_SIGNATURE_HEADER = "X-Moongate-Signature"

_SIGNATURE_PATTERN = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def check_headers(headers: Headers, secrets: Secrets, now: int) -> None:
    time, _ = _split_signature(headers)
    signatures.check_time(time, now)


def verify_signature(headers: Headers, body: bytes, secrets: Secrets) -> None:
    time, signature = _split_signature(headers)
    signatures.check_hex_signature(signature, time.encode() + b"." + body, secrets)


def read_webhook(headers: Headers, body: bytes, payload: Payload) -> ParsedWebhook:
    event = signatures.read_text_at(payload, "event")
    data = payload.get("data")
    if not isinstance(data, dict):
        raise InvalidRequest("data: an object is missing there.")
    id_ = data.get("id")
    if id_ is not None and (not isinstance(id_, (str, int)) or isinstance(id_, bool) or id_ == ""):
        raise InvalidRequest("data.id: a text or a whole number.")
    # Without an id, the signature identifies the message: it covers the second and the body.
    return ParsedWebhook(id=str(id_) if id_ is not None else _id_from_signature(headers), events=(event,))


def _id_from_signature(headers: Headers) -> str:
    _, signature = _split_signature(headers)  # not the whole header: spaces in it may differ
    return "signed " + hashlib.sha256(signature.encode()).hexdigest()


def _split_signature(headers: Headers) -> tuple[str, str]:
    found = _SIGNATURE_PATTERN.fullmatch(signatures.require_header(headers, MOONGATE_SIGNATURE_HEADER).replace(" ", ""))
    if found is None:
        raise Unauthorized(f"the header {MOONGATE_SIGNATURE_HEADER} is not t=<seconds>,v1=<64 hexadecimal digits>.")
    return found[1], found[2]


PROVIDER = Provider(
    check_headers=check_headers,
    verify_signature=verify_signature,
    read_webhook=read_webhook,
    prompt="{data.content}",
    session="{data.chat_id}",
)
