"""Signed requests: required headers, current timestamps, digests compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence

from gateway.errors import ConfigError, InvalidRequest, Unauthorized

#: seconds that a signature's time may be behind or ahead of our clock
SIGNATURE_WINDOW_SECONDS = 300


#: prefix of a Standard Webhooks secret
STANDARD_PREFIX = "whsec_"
_MAKING_HINT = "Make one: whsec_$(openssl rand -base64 32)"


def require_header(headers: Mapping[str, str], name: str) -> str:
    """Return a header's value.

    Raises:
        Unauthorized: it is missing or empty.
    """
    value = headers.get(name, "").strip()
    if not value:
        raise Unauthorized(f"the header {name} is missing or empty.", remedy="Requests must be signed.")
    return value


def check_time(text: str, now: int) -> None:
    """Refuse an old or future signature: it may be a replay.

    Args:
        text: the sender's time, in seconds since 1970 UTC.
        now: our time, in the same unit.

    Raises:
        Unauthorized: it is not a time, or is more than `SIGNATURE_WINDOW_SECONDS` from ours.
    """
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise Unauthorized("the signature's time is not a number of seconds since 1970.")
    if abs(now - int(text)) > SIGNATURE_WINDOW_SECONDS:
        raise Unauthorized(
            f"the signature is not from the last {SIGNATURE_WINDOW_SECONDS} s.",
            remedy="Sign each attempt with its own time, and compare both clocks.",
        )


def hmac_digest(secret: bytes, signed: bytes) -> bytes:
    """Return the HMAC-SHA256 (RFC 2104) of the signed bytes."""
    return hmac.new(secret, signed, hashlib.sha256).digest()


def decode_standard_key(secret: str) -> bytes:
    """Return the key in a Standard Webhooks secret.

    Raises:
        ConfigError: the part after the prefix is empty or not base64.
    """
    try:
        key = base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(
            f"a Standard Webhooks secret is {STANDARD_PREFIX} followed by base64.", remedy=_MAKING_HINT
        ) from error
    if not key:
        raise ConfigError(f"a Standard Webhooks secret needs a key after {STANDARD_PREFIX}.", remedy=_MAKING_HINT)
    return key


def new_standard_secret() -> str:
    """Return a new Standard Webhooks secret."""
    return STANDARD_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def equals_constant_time(sent: str, right: str) -> bool:
    """Return whether two texts are equal, in constant time; `sent` may have non-ASCII characters."""
    return hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), right.encode())


def check_hex_signature(sent: str, signed: bytes, secrets: Sequence[str]) -> None:
    """Refuse a hexadecimal signature that was made with none of the secrets.

    Raises:
        Unauthorized: the signature is wrong.
    """
    if not any(equals_constant_time(sent, hmac_digest(secret.encode(), signed).hex()) for secret in secrets):
        raise wrong_signature()


def wrong_signature() -> Unauthorized:
    return Unauthorized(
        "the signature is wrong.", remedy="Both sides need the same secret. Send the body exactly as it was signed."
    )


def read_text_at(payload: object, *path: str) -> str:
    """Return the text at a path of a JSON value.

    Raises:
        InvalidRequest: there is no text.
    """
    for step in path:
        payload = payload.get(step) if isinstance(payload, dict) else None
    if not isinstance(payload, str) or not payload:
        raise InvalidRequest(f"{'.'.join(path)}: a text is missing.")
    return payload
