"""For any sender that can compute an HMAC: `{"event": "message", "data": {"chat_id", "content", "id"?}}`.

The header is `X-Moongate-Signature: t=<seconds since 1970>,v1=<hex>`. `v1` is the HMAC-SHA256, with
the secret as its key, of the time, a dot and the body.
"""

from __future__ import annotations

import hashlib
import re

from gateway.errors import InvalidRequest, Unauthorized
from gateway.inbound import Headers, Payload, Posted, Provider, Secrets
from gateway.security import signatures

SIGNATURE = "X-Moongate-Signature"

_FORM = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def admit(headers: Headers, secrets: Secrets, now: int) -> None:
    time, _ = _parts(headers)
    signatures.check_time(time, now)


def verify(headers: Headers, body: bytes, secrets: Secrets) -> None:
    time, signature = _parts(headers)
    signatures.check_hex(signature, time.encode() + b"." + body, secrets)


def read(headers: Headers, body: bytes, payload: Payload) -> Posted:
    event = signatures.text_at(payload, "event")
    data = payload.get("data")
    if not isinstance(data, dict):
        raise InvalidRequest("data: an object is missing there.")
    id_ = data.get("id")
    if id_ is not None and (not isinstance(id_, (str, int)) or isinstance(id_, bool) or id_ == ""):
        raise InvalidRequest("data.id: a text or a whole number.")
    # Without an id, the signature identifies the message: it covers the second and the body.
    return Posted(id=str(id_) if id_ is not None else _signed(headers), events=(event,))


def _signed(headers: Headers) -> str:
    _, signature = _parts(headers)  # not the whole header: spaces in it may differ
    return "signed " + hashlib.sha256(signature.encode()).hexdigest()


def _parts(headers: Headers) -> tuple[str, str]:
    found = _FORM.fullmatch(signatures.header(headers, SIGNATURE).replace(" ", ""))
    if found is None:
        raise Unauthorized(f"the header {SIGNATURE} is not t=<seconds>,v1=<64 hexadecimal digits>.")
    return found[1], found[2]


PROVIDER = Provider(admit=admit, verify=verify, read=read, prompt="{data.content}", session="{data.chat_id}")
