"""Webhooks: a signed POST, tried once.

The signature: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
The `ce-` headers: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from yarl import URL

import gateway
from gateway.domain import address_policy, times
from gateway.domain.address_policy import AddressPolicy
from gateway.domain.delivery import (
    REFUSED_PREFIX,
    Delivered,
    Delivery,
    PermanentFailure,
    RetryLater,
    SendResult,
    Target,
)
from gateway.domain.times import Clock
from gateway.outbound import resolver
from gateway.outbound.resolver import LookUpHost, ThreadResolver
from gateway.security import signatures

#: seconds that one try may take
POST_TIMEOUT_SECONDS = 15.0
#: bytes of an answer that are read, at most
MAX_WEBHOOK_ANSWER_BYTES = 64 << 10
#: characters of an answer that a failure's reason shows, at most
MAX_EXCERPT_CHARACTERS = 200
#: seconds that are spent on reading why a receiver refused
EXPLANATION_SECONDS = 2.0
STATUS_GONE = 410


class WebhookSender:
    """The sender of kind `webhook`."""

    def __init__(
        self,
        address_policy: AddressPolicy,
        clock: Clock,
        *,
        keys: Sequence[bytes],
        own_keys: Mapping[str, Sequence[bytes]] | None = None,
        deadline: float = POST_TIMEOUT_SECONDS,
        look_up: LookUpHost | None = None,
    ) -> None:
        """Args:
        keys: the keys that sign webhooks to any receiver.
        own_keys: the keys of receivers that have their own, by receiver.
        """
        self._address_policy = address_policy
        self._clock = clock
        self._keys = keys
        self._own_keys = own_keys or {}
        self._deadline = deadline
        self._look_up = look_up or resolver.look_up_host
        self._lookup_slots = asyncio.Semaphore(resolver.MAX_PARALLEL_LOOKUPS)

    async def send_delivery(self, delivery: Delivery, body: bytes) -> SendResult:
        try:
            guard = _SocketGuard(self._address_policy, delivery)
        except ValueError as error:
            return PermanentFailure(f"not a URL: {error}")
        try:
            async with asyncio.timeout(self._deadline):
                return await self._post_once(delivery, body, guard)
        except TimeoutError:
            return RetryLater(f"no answer within {self._deadline:g} s")
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            return PermanentFailure(f"not a URL: {error}")
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            return guard.judge_refusal() or RetryLater(_describe_failure(error))

    async def _post_once(self, delivery: Delivery, body: bytes, guard: _SocketGuard) -> SendResult:
        # One connection for each delivery: a connection that was allowed for a trusted URL is never used
        # for another, and every address is checked right after its look-up.
        connector = aiohttp.TCPConnector(
            resolver=ThreadResolver(self._look_up, self._lookup_slots),
            socket_factory=guard.open_socket,
            use_dns_cache=False,
            force_close=True,
        )
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
            session.post(
                delivery.target.address, data=body, headers=self._build_headers(delivery, body), allow_redirects=False
            ) as answer,
        ):
            if 200 <= answer.status < 300:
                await _read_answer(answer, bytearray())
                return Delivered()
            return _judge_refusal(answer, await _read_explanation(answer), self._clock())

    def _build_headers(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        now = self._clock() // 1000
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Moongate/{gateway.__version__}",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(now),
            "moongate-attempt": str(delivery.attempt),
        }
        if delivery.target.format == "task":
            headers |= {
                "ce-specversion": "1.0",
                "ce-type": "task.finished",
                "ce-source": "/api/tasks",
                "ce-subject": delivery.run,
                "ce-id": delivery.id,
                "ce-time": times.format_rfc3339(delivery.created),
            }
        signed = f"{delivery.id}.{now}.".encode() + body
        made = [
            base64.b64encode(signatures.hmac_digest(key, signed)).decode() for key in self._find_keys(delivery.target)
        ]
        headers["webhook-signature"] = " ".join(f"v1,{signature}" for signature in made)
        return headers

    def _find_keys(self, target: Target) -> Sequence[bytes]:
        """Return the signing keys: the caller's secret, or the receiver's own keys, or the common keys."""
        if target.secret:
            return [signatures.decode_standard_key(target.secret)]
        return self._own_keys.get(target.receiver, self._keys)


class _SocketGuard:
    """Opens sockets only to addresses that a delivery may be sent to, however its host was resolved."""

    def __init__(self, address_policy: AddressPolicy, delivery: Delivery) -> None:
        self._address_policy = address_policy
        # Parsed by the library that connects: two parsers may find two hosts in one URL.
        self._host = URL(delivery.target.address).host or ""
        self._trusted = delivery.target.trusted
        #: why an address was refused; empty if none was
        self._refusal = ""
        #: whether all addresses so far were some that webhooks are never sent to
        self._all_forbidden = True

    def open_socket(self, found: Any) -> socket.socket:
        family, kind, protocol, _, address = found
        why = self._address_policy.explain_refusal(self._host, address[0], trusted=self._trusted)
        self._all_forbidden &= why is not None and address_policy.is_never_allowed(address[0])
        if why is not None:
            self._refusal = f"{REFUSED_PREFIX}{why}"
            raise OSError(self._refusal)
        return socket.socket(family, kind, protocol)

    def judge_refusal(self) -> SendResult | None:
        """Return the result of an attempt that the policy refused; None if it did not.

        What other settings would allow is tried again: it may have been accepted under those.
        """
        if not self._refusal:
            return None
        return PermanentFailure(self._refusal) if self._all_forbidden else RetryLater(self._refusal)


async def _read_answer(answer: aiohttp.ClientResponse, into: bytearray) -> None:
    """Read an answer up to the limit; an answer that breaks off before that is an error."""
    while len(into) < MAX_WEBHOOK_ANSWER_BYTES:
        chunk = await answer.content.read(MAX_WEBHOOK_ANSWER_BYTES - len(into))
        if not chunk:
            break
        into += chunk


async def _read_explanation(answer: aiohttp.ClientResponse) -> bytes:
    """Return what a receiver says about its refusal, or the part that comes: the status alone decides."""
    read = bytearray()
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(EXPLANATION_SECONDS):
            await _read_answer(answer, read)
    return bytes(read)


def _describe_failure(error: Exception) -> str:
    """Return a short reason, for people, why a try had no answer."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"cannot find the host: {error.os_error.strerror or error.os_error}"
        case aiohttp.ClientConnectorCertificateError():
            return f"cannot trust the receiver's certificate: {_describe_tls_error(error.certificate_error)}"
        case aiohttp.ClientConnectorError(os_error=ssl.SSLError() as cause):
            return f"cannot agree on TLS: {_describe_tls_error(cause)}"
        case aiohttp.ClientConnectorError(os_error=cause) if cause.errno:
            return f"cannot connect: {_describe_os_error(cause)}"
        case aiohttp.ServerDisconnectedError():
            return "the receiver closed the connection without an answer"
        case aiohttp.ClientResponseError():  # its status is the library's own: nothing was answered
            return f"the answer is not valid HTTP: {_cut_excerpt(error.message)}"
        case aiohttp.ClientPayloadError():
            return "the answer broke off"
        case OSError() if error.errno:
            return f"the connection broke: {_describe_os_error(error)}"
    return f"{type(error).__name__}: {error}"


def _describe_os_error(error: OSError) -> str:
    """Return what the system says. A failed look-up has error numbers of its own."""
    if isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno or 0)


def _describe_tls_error(error: Exception) -> str:
    """Return what OpenSSL says. Its error numbers are not those of the operating system."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return reason.replace("_", " ").lower() if reason else str(error)


def _judge_refusal(answer: aiohttp.ClientResponse, text: bytes, now: int) -> SendResult:
    """Return the result of an attempt whose answer is no success."""
    why = f"answered {answer.status}"
    if answer.status == STATUS_GONE:
        return PermanentFailure(f"{why}: it wants no more")
    if 300 <= answer.status < 400:
        return RetryLater(f"{why}: redirects are not followed")
    shown = _cut_excerpt(text[: 4 * MAX_EXCERPT_CHARACTERS].decode("utf-8", "replace"))
    return RetryLater(
        f"{why}: {shown}" if shown else why, retry_after=_parse_retry_after(answer.headers.get("Retry-After"), now)
    )


def _cut_excerpt(text: str) -> str:
    """Return the beginning of a text on one line, without control characters."""
    line = " ".join(text.split())
    return "".join(character for character in line if character.isprintable())[:MAX_EXCERPT_CHARACTERS]


def _parse_retry_after(text: str | None, now: int) -> float:
    """Return the seconds of a `Retry-After` header, a number or a date (RFC 9110, 10.2.3); 0 if it has none."""
    if text is None:
        return 0.0
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    with suppress(ValueError, OverflowError):
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.fromtimestamp(now / 1000, UTC)).total_seconds())
    return 0.0
